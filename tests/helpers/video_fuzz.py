"""Random events of video players, with what goes wrong in practice, for tests of the marts."""

import random
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from uuid import UUID

from tests.helpers.video_oracle import Event

MONDAY = datetime(2025, 10, 6, 9, tzinfo=UTC)
URLS = [
    "https://v.example.org/a.mp4",
    "https://v.example.org/a.mp4#t=5",
    "https://v.example.org/a.mp4?t=9",
    "https://v.example.org/b.mp4?X-Amz-Date=7&v=1",
    "https://v.example.org/b.mp4?v=1&start=3",
    "",
    None,
]
ODD_PLACES = [None, None, -1.0, -0.0, 0.0, 86400.0, 86400.5, 1e9]
ODD_TEXTS = [
    "",
    "0[.]",
    "5[.]1",
    "x[.]3",
    "1[.]2[.]3",
    "nan[.]inf",
    " 1 [.] 4 ",
    "1e1[.]+12",
    "[,]",
]


def random_events(seed: int, learners: int = 12, sections: int = 3) -> list[Event]:
    """Events of some learners: plays, jumps, several players, lost events, equal times."""
    rng = random.Random(seed)
    found: list[Event] = []
    for learner in range(learners):
        for _ in range(rng.randint(1, 3)):
            found += _player(rng, f"learner-{learner}", rng.randint(1, sections))
    kept = [event for event in found if rng.random() > 0.08]
    rng.shuffle(kept)
    return kept


def _player(rng: random.Random, learner: str, section: int) -> Iterator[Event]:
    """A learner at one player: each step happens some time after the last one."""
    where = {
        "learner_id": learner,
        "section_id": section,
        "course_id": rng.choice(["", "", "course"]),
        "video_url": rng.choice(URLS),
        "session_id": rng.choice([None, None, "s1", "s2"]),
        "page_id": rng.choice([None, 7]),
        "page_attempt_guid": rng.choice([None, "guid"]),
        "content_element_id": rng.choice([None, None, "element"]),
    }
    now = MONDAY + timedelta(seconds=rng.choice([0, 0, 7, 3600, 86300]))
    at, speed, played = 0.0, rng.choice([1, 1, 1, 1.5, 2, 3]), []
    for _ in range(rng.randint(1, 14)):
        waited = rng.choice([0, 0, rng.randint(1, 5), rng.randint(5, 200), round(rng.random(), 3)])
        waited = waited if rng.random() > 0.03 else 90_000
        now += timedelta(seconds=waited)
        ahead = round(at + waited * speed, rng.choice([0, 1, 3]))
        verb = rng.choice(
            ["played"] * 6
            + ["paused"] * 5
            + ["seeked"] * 3
            + ["completed", "terminated", "interacted", "initialized", "experienced"]
        )
        places = {"video_time": ahead if verb != "played" else rng.choice([at, ahead])}
        if verb == "seeked":
            to = rng.choice([0.0, float(rng.randint(0, 300)), ahead + 0.5, ahead * 0.7, ahead / 2])
            places = {"video_seek_from": rng.choice([ahead, ahead, at]), "video_seek_to": to}
            ahead = to
        if rng.random() < 0.1:
            places[rng.choice(list(places))] = rng.choice(ODD_PLACES)
        if verb in ("paused", "completed") and ahead > at:
            played.append(f"{at:g}[.]{ahead:g}")
        if verb in ("paused", "completed", "terminated") and rng.random() < 0.4:
            text = "[,]".join([*played, *rng.choices(ODD_TEXTS, k=rng.randint(0, 1))])
            places["video_played_segments"] = text
        at = ahead
        yield Event(
            event_id=UUID(int=rng.getrandbits(128)), timestamp=now, verb=verb, **where, **places
        )
