"""Where things are: the project, the saved events, the shared data."""

import os
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]

# One saved event for each route to the trigger.
EVENTS = ROOT / "tests" / "events"

# Real statements; tests that use them skip where they are absent.
SHARED = Path(os.environ.get("XAPI_SHARED_DATA") or ROOT.parent / "shared" / "data")

# Inputs that went wrong once, beside them.
CASES = SHARED.parent / "cases"
