"""xAPI statements from S3 into ClickHouse: settings, objects, the ledger and the commands."""
