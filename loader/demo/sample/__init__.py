"""A made-up data lake in the shape Torus writes: the same plan gives the same bytes."""

from loader.demo.sample.lake import SampleObject, SampleSummary, objects, summarise
from loader.demo.sample.plan import SamplePlan
from loader.demo.sample.torus import OLI

__all__ = ["OLI", "SampleObject", "SamplePlan", "SampleSummary", "objects", "summarise"]
