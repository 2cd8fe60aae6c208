"""Generate a data lake of sample statements in Torus's format, the same bytes each time."""

from loader.demo.sample.lake import SampleObject, SampleSummary, objects, summarise
from loader.demo.sample.plan import SamplePlan
from loader.demo.sample.torus import OLI

__all__ = ["OLI", "SampleObject", "SamplePlan", "SampleSummary", "objects", "summarise"]
