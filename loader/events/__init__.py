"""Notifications: read an event, load what it names, answer which messages must come back."""
