"""The same events on older engines of ClickHouse."""
