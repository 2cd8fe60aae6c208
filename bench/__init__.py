"""Benchmarks that compare the pipeline with common alternatives: `make bench`."""
