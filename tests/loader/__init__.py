"""Tests of loading, on a real ClickHouse and a stand-in for S3."""
