"""Faults at random moments: nothing may be lost or doubled."""
