"""Tests of the models: dbt on a real ClickHouse."""
