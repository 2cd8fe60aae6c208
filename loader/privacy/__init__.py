"""Erase learners: their content goes, the places of their lines stay (docs/privacy.md)."""
