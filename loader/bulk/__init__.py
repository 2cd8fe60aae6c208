"""Whole buckets: select, list, backfill and reconcile objects."""
