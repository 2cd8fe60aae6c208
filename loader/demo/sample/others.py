"""Generate video statements of producers other than Torus, by the generic video profile."""

import json
from datetime import timedelta
from random import Random
from typing import Any

from loader.demo.sample.plan import SamplePlan, midnight
from loader.demo.sample.statements import (
    ADL,
    COMPLETED,
    PAUSED,
    PLAYED,
    REPEAT,
    VIDEO,
    Event,
    media,
    new_guid,
)


def foreign_events(plan: SamplePlan, week: int) -> list[Event]:
    """Generate viewings by the generic video profile: with statement ids, without a section.

    Args:
        plan: the number of viewings, and the seed.
        week: the week they are in, counted from 0.
    """
    rng, events = Random(f"{plan.seed}/foreign"), []
    for number in range(plan.foreign_sessions):
        at = midnight(plan, 7 * week) + timedelta(days=rng.uniform(0.4, 5))
        actor = (
            {"account": {"homePage": "https://lms.example.org", "name": new_guid(rng)}},
            {"mbox": f"mailto:viewer-{number}@example.org"},
            {"mbox_sha1sum": f"{rng.getrandbits(160):040x}"},
            {"openid": f"https://id.example.org/viewer-{number}"},
        )[number % 4]
        # The video's length is in the result, in the context or in the object.
        lengths: list[dict[str, Any]] = [{}, {}, {}]
        lengths[number % 3] = media(length=300)
        definition = {"type": VIDEO, "name": {"en": "Lecture"}, "extensions": lengths[2]}
        course = [{"id": "course-v1:Example+101+2025", "objectType": "Activity"}]
        activities = {("parent", "grouping")[number % 2]: course}
        session, ids = media(session_id=new_guid(rng)), [new_guid(rng) for _ in range(7)]
        if number == 1:
            # Derived ids (not version 4) are not always unique: two statements share this one.
            ids[2] = ids[3] = f"{ids[2][:14]}5{ids[2][15:]}"
        steps: tuple[tuple[str, dict[str, Any]], ...] = (
            (f"{ADL}verbs/initialized", {}),
            (PLAYED, {"time": 0}),
            (PAUSED, {"time": 150.5, "progress": 0.5, "played_segments": "0[.]150.5"}),
            (f"{ADL}verbs/interacted", {"time": 150.5}),
            (PLAYED, {"time": 150.5}),
            (COMPLETED, {"time": 300, "progress": 1.0, "played_segments": "0[.]300"}),
            (f"{ADL}verbs/terminated", {"time": 300}),
        )
        for statement_id, (verb, result) in zip(ids, steps, strict=True):
            seconds = 150 if verb in (PAUSED, COMPLETED) else rng.uniform(1, 9)
            at += timedelta(seconds=seconds + rng.random())
            statement = {
                "id": statement_id,
                "actor": actor,
                "verb": {"id": verb},
                "object": {"id": f"uuid://lecture-{number}", "definition": definition},
                "result": {"extensions": media(**result) | lengths[0]},
                "context": {"extensions": session | lengths[1], "contextActivities": activities},
                "timestamp": at.isoformat(),
            }
            events.append(Event(at, "video", "video", json.dumps(statement)))
        if number == 2:
            # The same event again, with another order of members and other escapes.
            again = json.dumps(statement, sort_keys=True).replace("/", "\\/")
            events.append(Event(at + timedelta(seconds=1), "video", REPEAT, again))
    return events
