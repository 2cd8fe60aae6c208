"""Tests without an engine: keys, events, errors, settings."""
