"""Several at once."""
