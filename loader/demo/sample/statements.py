"""Parts of all sample statements: IRIs, extensions, ids and times."""

import json
from datetime import datetime
from random import Random
from typing import Any, NamedTuple

REPEAT = "repeat"

ADL = "http://adlnet.gov/expapi/"
PROFILE = "https://w3id.org/xapi/video"
MEDIA = f"{PROFILE}/extensions/"
VIDEO = f"{PROFILE}/activity-type/video"
PLAYED, PAUSED, SEEKED, WATCHED = (
    f"{PROFILE}/verbs/{verb}" for verb in ("played", "paused", "seeked", "completed")
)
EXPERIENCED, COMPLETED = f"{ADL}verbs/experienced", f"{ADL}verbs/completed"

# No value contains itself, so the check for that is skipped; it takes time.
encode = json.JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":")).encode


class Event(NamedTuple):
    """A line of the lake, with its time, category and kind."""

    at: datetime
    category: str
    kind: str  # a family, REPEAT, or the reason why the line is bad
    line: str


def media(**values: Any) -> dict[str, Any]:
    """Extensions of the video profile.

    Args:
        values: by name, with `_` for `-`.
    """
    return {MEDIA + name.replace("_", "-"): value for name, value in values.items()}


def stamp_of(at: datetime) -> str:
    """Write a time in Torus's format."""
    return at.isoformat(timespec="microseconds")[:26] + "Z"


def new_guid(rng: Random) -> str:
    """Draw a random id in the form of a UUID."""
    text = f"{rng.getrandbits(128):032x}"
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:]}"
