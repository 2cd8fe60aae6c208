"""What all statements are made with: IRIs, extensions, ids, times, and the event around a line."""

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

# Nothing here refers to itself, and looking for that takes time.
encode = json.JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":")).encode


class Event(NamedTuple):
    """A line of the lake, with what bundles and the summary need to know of it."""

    at: datetime
    category: str
    kind: str  # a family, REPEAT, or the reason why the line is bad
    line: str


def media(**values: Any) -> dict[str, Any]:
    """Name values as the video profile does."""
    return {MEDIA + name.replace("_", "-"): value for name, value in values.items()}


def stamp_of(at: datetime) -> str:
    """Write a moment as Torus does."""
    return at.isoformat(timespec="microseconds")[:26] + "Z"


def new_guid(rng: Random) -> str:
    """Draw an id in the form of a UUID."""
    text = f"{rng.getrandbits(128):032x}"
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:]}"
