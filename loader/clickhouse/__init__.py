"""ClickHouse: connections (embedded and over HTTP), their safety, the DDL."""
