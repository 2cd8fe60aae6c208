"""Work on whole buckets: select, list, backfill and reconcile objects."""
