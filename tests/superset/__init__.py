"""The Superset bundle, imported into a real Superset. `make superset` runs these."""
