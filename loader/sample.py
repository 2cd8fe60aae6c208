"""A made-up data lake in the shape Torus writes: the same plan gives the same bytes."""

import gzip
import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from hashlib import md5
from operator import attrgetter
from random import Random
from typing import Any, NamedTuple

FAMILIES = ("video", "activity_attempt", "page_attempt", "part_attempt", "page_viewed", "other")
REASONS = ("not JSON", "not an object", "no usable timestamp", "no verb", "no actor")
REPEAT = "repeat"

HOME = "https://proton.oli.cmu.edu"
OLI = "http://oli.cmu.edu/extensions/"
ADL = "http://adlnet.gov/expapi/"
PROFILE = "https://w3id.org/xapi/video"
MEDIA = f"{PROFILE}/extensions/"
VIDEO = f"{PROFILE}/activity-type/video"
PLAYED, PAUSED, SEEKED, WATCHED = (
    f"{PROFILE}/verbs/{verb}" for verb in ("played", "paused", "seeked", "completed")
)
EXPERIENCED, COMPLETED = f"{ADL}verbs/experienced", f"{ADL}verbs/completed"
VIEWED, TUTORED = "http://id.tincanapi.com/verb/viewed", f"{OLI}verbs/tutor_message"
TITLES = (
    "Cells and membranes", "L'énergie — «cinétique» \\ 2", "Photosynthesis", '"Enzyme" kinetics',
    "DNA → RNA → protein", "自然選択", "Ökologie: Räuber & Beute", "Osmosis, part 1/2",
)  # fmt: skip
ANSWERS = ('mitochondria → "power house"', "osmosis", "I don't know", "ΔG < 0", "a, c", "42")

# Nothing here refers to itself, and looking for that takes time.
_encode = json.JSONEncoder(ensure_ascii=False, check_circular=False, separators=(",", ":")).encode

# Monday to Sunday: most of the work is done on the evening before a Monday deadline.
WEEKDAYS = (5, 6, 6, 5, 2, 3, 9)
# A bundle is uploaded after this time even when it is not full.
PATIENCE = timedelta(days=4)


@dataclass(frozen=True)
class SampleObject:
    """One object of the lake."""

    key: str
    body: bytes
    uploaded_at: datetime


@dataclass(frozen=True)
class SamplePlan:
    """What to generate; sections, months, learners and visits scale the volume."""

    seed: int = 7
    sections: int = 4
    months: int = 3
    learners: int = 12  # in each section
    visits: int = 1  # page visits of an active learner in a week
    start: date = date(2025, 9, 1)
    lines_per_object: int = 30
    bad_lines: int = 18  # spread over the whole lake, each kind in turn
    duplicates: int = 25  # lines repeated inside their object
    replays: int = 1  # objects uploaded again two months later, under a new key
    foreign_sessions: int = 6  # viewings told by producers other than Torus
    odd_objects: bool = True  # one gzip, one empty, one with a space and a plus in its key

    @property
    def weeks(self) -> int:
        """Course weeks that fit into the months."""
        return self.months * 13 // 3


@dataclass(frozen=True)
class SampleSummary:
    """What a plan yields: every line, and the distinct events among them by family."""

    objects: int
    lines: int
    bad_lines: int
    duplicate_lines: int
    families: dict[str, int]
    reasons: dict[str, int]  # of the bad lines


class _Event(NamedTuple):
    at: datetime
    category: str
    kind: str  # a family, REPEAT, or the reason why the line is bad
    line: str


class _Video(NamedTuple):
    url: str
    title: str
    length: float
    element: str


def objects(plan: SamplePlan) -> Iterator[SampleObject]:
    """Generate the lake, holding one week of one section at a time."""
    return _lake(plan, Counter())


def summarise(plan: SamplePlan) -> SampleSummary:
    """Count what `objects(plan)` yields, as it is being made."""
    tally: Counter[str] = Counter()
    count = sum(1 for _ in _lake(plan, tally))
    reasons = {reason: tally[reason] for reason in REASONS}
    families = {family: tally[family] for family in FAMILIES}
    bad_lines = sum(reasons.values())
    return SampleSummary(count, tally.total(), bad_lines, tally[REPEAT], families, reasons)


def _lake(plan: SamplePlan, tally: Counter[str]) -> Iterator[SampleObject]:
    rng = Random(f"{plan.seed}/lake")
    units, replays = plan.weeks * plan.sections, []
    made = 0  # stays 0 when no object is to be odd
    for unit in range(units):
        week, section = divmod(unit, plan.sections)
        bundles = _bundles(_section_week(plan, section, week), plan.lines_per_object)
        for _ in _share(plan.duplicates, unit, units):
            _repeat_a_line(rng, rng.choice(bundles))
        for number in _share(plan.bad_lines, unit, units):
            _insert_bad_line(rng, rng.choice(bundles), number)
        batch = [(_section_id(section), events) for events in bundles]
        if unit == units // 2:
            foreign = _bundles(_foreign_events(plan, week), plan.lines_per_object)
            batch += [(0, events) for events in foreign]
        for section_id, events in batch:
            made += plan.odd_objects
            suffix = {3: ".jsonl.gz", 5: " copy+1.jsonl"}.get(made, ".jsonl")
            text = "\n".join(event.line for event in events) + rng.choice(("", "\n"))
            body = text.encode(errors="surrogateescape")
            body = gzip.compress(body, mtime=0) if suffix.endswith("gz") else body
            uploaded_at = events[-1].at + timedelta(seconds=rng.uniform(2, 25))
            place = f"section/{section_id}/{events[0].category}"
            tally.update(event.kind for event in events)
            yield _object(place, uploaded_at, body, suffix)
            if made == 7:
                yield _object(place, uploaded_at + timedelta(seconds=1), b"")
            if len(replays) < plan.replays and "video" in place and suffix == ".jsonl":
                replays.append((place, uploaded_at, body, events))
    for place, uploaded_at, body, events in replays:
        tally.update(event.kind if event.kind in REASONS else REPEAT for event in events)
        yield _object(place, uploaded_at + timedelta(days=rng.uniform(60, 90)), body)


def _object(place: str, at: datetime, body: bytes, suffix: str = ".jsonl") -> SampleObject:
    stamp, digest = _stamp(at).replace(":", "-"), md5(f"{place}/{at}".encode()).hexdigest()
    return SampleObject(f"{place}/{stamp}_{digest.upper()}{suffix}", body, at)


def _share(total: int, unit: int, units: int) -> range:
    return range(total * unit // units, total * (unit + 1) // units)


def _bundles(events: list[_Event], size: int) -> list[list[_Event]]:
    """Cut events into bundles of one category each, in order of their uploads."""
    bundles, open_ones = [], {}
    for event in sorted(events, key=attrgetter("at")):
        bundle = open_ones.get(event.category)
        if not bundle or len(bundle) >= size or event.at - bundle[0].at > PATIENCE:
            bundle = open_ones[event.category] = []
            bundles.append(bundle)
        bundle.append(event)
    return sorted(bundles, key=lambda bundle: bundle[-1].at)


def _repeat_a_line(rng: Random, events: list[_Event]) -> None:
    place = rng.randrange(len(events))
    repeat = events[place]._replace(kind=REPEAT, at=events[-1].at)
    events.insert(rng.randint(place + 1, len(events)), repeat)


def _insert_bad_line(rng: Random, events: list[_Event], number: int) -> None:
    model = rng.choice([event for event in events if event.kind in FAMILIES])
    line, good = model.line, json.loads(model.line)
    without = {name: _encode({k: v for k, v in good.items() if k != name}) for name in good}
    reason, bad = (
        ("not JSON", f"502 Bad Gateway, request {_guid(rng)}"),
        ("not JSON", line[: len(line) * 2 // 3]),
        ("not JSON", line.replace('"timestamp":', '"note":"\udcff\udcfe","timestamp":')),
        ("not an object", f"[{line}]"),
        ("no usable timestamp", without["timestamp"]),
        ("no usable timestamp", _encode({**good, "timestamp": "yesterday evening"})),
        ("no verb", without["verb"]),
        ("no verb", _encode({**good, "verb": {}})),
        ("no actor", without["actor"]),
    )[number % 9]
    # The last line stays last, because its time is the time of the upload.
    events.insert(rng.randrange(len(events)), model._replace(kind=reason, line=bad))


def _section_week(plan: SamplePlan, section: int, week: int) -> list[_Event]:
    rng = Random(f"{plan.seed}/{section}/{week}")
    days = [_midnight(plan, 7 * week + day) for day in range(7)]
    weights = [WEEKDAYS[day.weekday()] for day in days]
    events: list[_Event] = []
    for learner in range(plan.learners):
        traits = Random(f"{plan.seed}/{section}/learner/{learner}")
        diligence, skill = traits.betavariate(2.5, 1.5), traits.betavariate(4, 3)
        fatigue = 0.4 * (1 - diligence) * week / plan.weeks
        # One learner is always there, so that no week of a section is empty.
        if learner != week % plan.learners and rng.random() > 0.5 + diligence / 2 - fatigue:
            continue
        for number in range(1, plan.visits + 1):
            hour = rng.gauss(19.5, 1.5) if rng.random() < 0.7 else rng.uniform(8, 17)
            at = rng.choices(days, weights)[0] + timedelta(hours=min(hour, 23.5))
            user = 15474 + 100_000 * section + learner
            page_week = max(week - number + 1, 0)  # later visits go back to earlier pages
            visit = _Visit(plan, rng, section, user, diligence, skill, page_week, number, at)
            events += visit.events()
    return events


@dataclass
class _Visit:
    """One learner on one page."""

    plan: SamplePlan
    rng: Random
    section: int
    user: int
    diligence: float
    skill: float
    week: int
    number: int
    at: datetime
    seen: list[_Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        # The name is a number in most statements and a string in others.
        name = self.user if self.rng.random() < 0.8 else str(self.user)
        self.actor = _encode({"account": {"homePage": HOME, "name": name}, "objectType": "Agent"})
        project = 1719 + self.section // 2  # two sections share a project and its videos
        self.page, self.has_attempts = 1000 * project + self.week, self.week % 6 != 4
        self.section_id, self.guid = _section_id(self.section), _guid(self.rng)
        self.where = _oli(
            section_id=self.section_id,
            project_id=project,
            publication_id=5 * project,
            page_attempt_number=self.number if self.has_attempts else None,
            page_attempt_guid=self.guid if self.has_attempts else None,
        )

    def events(self) -> list[_Event]:
        """Look at the page, watch its videos, answer its questions."""
        rng, page = self.rng, self.page
        sub_type = {"subType": ("practice", "graded")[page % 2]}
        # The stray brace is in the statements of Torus too.
        activity = _activity(f"{HOME}/page/{page}}}", "Page", f"{OLI}types/page", sub_type)
        verb = VIEWED if rng.random() < 0.9 else EXPERIENCED
        result = {"completion": True, "success": True}
        self.say("page_viewed", verb, activity, result, self.context({}))
        for number in range(1 + self.week % 2):
            self.wait(2, 20)
            self.watch(self.video(number))
        if self.has_attempts and rng.random() < 0.4 + 0.6 * self.diligence:
            right = self.answer(7 * page, 1) + self.answer(7 * page + 1, 2 + page % 2)
            if rng.random() < 0.6 + 0.4 * self.diligence:
                self.finish("page_attempt", self.guid, right, 3 + page % 2, {})
        if rng.random() < 0.05:
            self.wait(1, 20)
            tutor = _activity(f"{HOME}/tutor/1", "Tutor", f"{OLI}types/tutor_message")
            message = {"extensions": _oli(message=f"<tutor_sequence>{'<m/>' * 40}")}
            self.say("other", TUTORED, tutor, message, self.context({}))
        return self.seen

    def video(self, number: int) -> _Video:
        """Find a video of the page, the same for all who look."""
        rng = Random(f"{self.plan.seed}/{self.page}/{number}")
        title = f"{self.week + 1}.{number + 1} {TITLES[(self.week + 5 * number) % len(TITLES)]}"
        url = f"https://cdn.example.org/media/{self.page}/part-{number + 1}.mp4"
        if (self.week + number) % 3 == 2:
            url = f"https://www.youtube.com/watch?v={rng.getrandbits(44):011x}&t=1s"
        # Outside an attempt Torus names the page itself as the element.
        element = rng.randrange(10**9, 4 * 10**9) if self.has_attempts else self.page
        return _Video(url, title, round(rng.uniform(120, 660), 2), str(element))

    def watch(self, video: _Video) -> None:
        """Play, pause and seek through one video, perhaps to its end."""
        rng, length = self.rng, video.length
        activity = _activity(video.url, video.title, VIDEO)
        element = _oli(content_element_id=video.element, enrollment_id=9000 + self.user)
        full, group = element | _media(length=length), {"category": [{"id": PROFILE}]}
        usual, without_length, older = (
            self.context(more, page, contextActivities=group)
            for more, page in ((full, "resource_id"), (element, "resource_id"), (full, "page_id"))
        )
        name = f',"registration":"{self.section_id}-{self.page}-{video.element}"'

        def say(verb: str, context: str = usual, name: str = name, **result: Any) -> None:
            self.say("video", verb, activity, {"extensions": _media(**result)}, context, name)

        resumes = rng.random() < (0.12 if self.number == 1 else 0.5)
        position = round(length * rng.uniform(0.05, 0.6), 2) if resumes else 0.0
        # Some see it through; the others leave early rather than late.
        stays = rng.random() < 0.15 + 0.65 * self.diligence
        leaves_at = length if stays else round(length * rng.betavariate(1.2, 2), 2)
        segments: list[tuple[float, float]] = []
        while True:
            say(PLAYED, time=position if rng.random() > 0.02 else str(position))
            if not segments and rng.random() < 0.02:
                self.wait(0.1, 0.5)
                say(EXPERIENCED)
            end = min(position + 3 + rng.expovariate(2 / length), max(leaves_at, position + 3))
            end = min(round(end, 2), length)
            self.wait(end - position, end - position + 0.3)
            segments.append((position, end))
            played = "[,]".join(f"{a:.7g}[.]{b:.7g}" for a, b in segments)
            progress = round(_covered(segments) / length, 4)
            state = {"time": end, "progress": progress, "played_segments": played}
            if progress == 1:
                how = (older, "") if rng.random() < 0.1 else (usual, name)
                return say(WATCHED, *how, **state)
            say(PAUSED, **state)
            if end >= leaves_at:
                return None
            if rng.random() < 0.4:
                jump = rng.uniform(-60, -5) if rng.random() < 0.55 else rng.uniform(10, 90)
                position = float(round(min(max(end + jump, 0), length - 5)))
                self.wait(0.1, 1)
                say(SEEKED, without_length, time_from=end, time_to=position)
                self.wait(0.1, 0.5)
            else:
                position = end
                self.wait(1, 90)

    def answer(self, activity_id: int, parts: int) -> int:
        """Answer one activity in one to three part attempts; the points it gave."""
        rng, guid, right = self.rng, _guid(self.rng), 0
        ids = {"activity_id": activity_id, "activity_revision_id": 8 * activity_id + 3}
        attempt = _oli(activity_attempt_number=1, activity_attempt_guid=guid, **ids)
        for part in range(1, parts + 1):
            for number in range(1, 1 + 3 // parts):
                self.wait(8, 75)
                is_right = rng.random() < self.skill + 0.2 * (number - 1)
                self.say_part(attempt, part, number, is_right)
                if is_right or rng.random() > 0.4 + 0.6 * self.diligence:
                    break
            right += is_right
        self.finish("activity_attempt", guid, right, parts, attempt)
        return right

    def say_part(self, attempt: dict[str, Any], part: int, number: int, is_right: bool) -> None:
        """Tell one answer, in the variants seen for response, feedback, hints and objectives."""
        guid, text, chance = _guid(self.rng), self.rng.choice(ANSWERS), self.rng.random()
        said = {"type": "p", "children": [{"text": "Correct!" if is_right else "Try again."}]}
        result = {
            "score": {"scaled": float(is_right), "raw": int(is_right), "min": 0, "max": 1},
            "response": {"input": text, "files": []} if chance < 0.7 else text,
            "completion": True,
            "success": True,  # always so, right or wrong
            "extensions": _oli(feedback={"content": [said]} if chance < 0.85 else None),
        }
        answer = attempt | _oli(
            part_attempt_number=number,
            part_attempt_guid=guid,
            part_id=str(part) if chance < 0.8 else f"part-{part}",
            hints_requested=["h1", "h2", "h3"][:number] if number > 1 else 0,
            attached_objectives=[self.page % 40, 41 + part] if chance < 0.9 else [],
            session_id=f"s-{guid[:8]}" if chance > 0.1 else None,
        )
        iri = f"{HOME}/part_attempt/{guid}}}"
        activity = _activity(iri, "Part Attempt", f"{ADL}activities/question")
        self.say("part_attempt", COMPLETED, activity, result, self.context(answer))

    def finish(self, kind: str, guid: str, right: int, most: int, attempt: dict[str, Any]) -> None:
        """Tell the score of an activity or of the page."""
        self.wait(0.1, 5)
        name = kind.replace("_", " ").title()
        activity = _activity(f"{HOME}/{kind}/{guid}", name, OLI + kind)
        score = {"scaled": round(right / most, 4), "raw": float(right), "min": 0, "max": most}
        result = {"score": score, "completion": True, "success": True}
        self.say(kind, COMPLETED, activity, result, self.context(attempt))

    def context(self, more: dict[str, Any], page: str = "page_id", **head: Any) -> str:
        """Tell where it happened, the page under the name this kind of statement uses."""
        return _encode({**head, "extensions": {**self.where, OLI + page: self.page, **more}})

    def wait(self, least: float, most: float) -> None:
        """Let time pass, always more than nothing: no two statements are the same."""
        self.at += timedelta(seconds=self.rng.uniform(least, most))

    def say(
        self, family: str, verb: str, activity: str, result: Any, context: str, name: str = ""
    ) -> None:
        """Write one statement, now and then in one of the spellings that occur."""
        chance, stamp = self.rng.random(), _stamp(self.at)
        if chance < 0.02:
            stamp = _stamp(self.at + timedelta(hours=2))[:-1] + "+02:00"
        elif chance < 0.05:
            stamp = stamp[:-4] + "Z"
        line = (
            f'{{"actor":{self.actor},"verb":{{"id":"{verb}","display":'
            f'{{"en-US":"{verb[verb.rindex("/") + 1 :]}"}}}},"object":{activity},'
            f'"result":{_encode(result)},"context":{context},"timestamp":"{stamp}"{name}}}'
        )
        if chance > 0.96:
            line = line.replace("/", "\\/")
        category = family if family in ("video", "page_viewed") else "attempt_evaluated"
        self.seen.append(_Event(self.at, category, family, line))


def _foreign_events(plan: SamplePlan, week: int) -> list[_Event]:
    """Tell viewings as the generic video profile does: with ids, without a section."""
    rng, events = Random(f"{plan.seed}/foreign"), []
    for number in range(plan.foreign_sessions):
        at = _midnight(plan, 7 * week) + timedelta(days=rng.uniform(0.4, 5))
        actor = (
            {"account": {"homePage": "https://lms.example.org", "name": _guid(rng)}},
            {"mbox": f"mailto:viewer-{number}@example.org"},
            {"mbox_sha1sum": f"{rng.getrandbits(160):040x}"},
            {"openid": f"https://id.example.org/viewer-{number}"},
        )[number % 4]
        # The length is in the result, in the context or with the object.
        lengths: list[dict[str, Any]] = [{}, {}, {}]
        lengths[number % 3] = _media(length=300)
        definition = {"type": VIDEO, "name": {"en": "Lecture"}, "extensions": lengths[2]}
        course = [{"id": "course-v1:Example+101+2025", "objectType": "Activity"}]
        activities = {("parent", "grouping")[number % 2]: course}
        session, ids = _media(session_id=_guid(rng)), [_guid(rng) for _ in range(7)]
        if number == 1:
            ids[3] = ids[2]  # ids are not always unique: two different statements share this one
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
                "result": {"extensions": _media(**result) | lengths[0]},
                "context": {"extensions": session | lengths[1], "contextActivities": activities},
                "timestamp": at.isoformat(),
            }
            events.append(_Event(at, "video", "video", json.dumps(statement)))
        if number == 2:
            # The same event, sent again by something that orders and escapes differently.
            again = json.dumps(statement, sort_keys=True).replace("/", "\\/")
            events.append(_Event(at + timedelta(seconds=1), "video", REPEAT, again))
    return events


def _activity(iri: str, name: str, kind: str, more: dict[str, Any] | None = None) -> str:
    definition = {"name": {"en-US": name}, "type": kind, **(more or {})}
    return _encode({"id": iri, "definition": definition, "objectType": "Activity"})


def _covered(segments: list[tuple[float, float]]) -> float:
    total = reach = 0.0
    for start, end in sorted(segments):
        total += max(0.0, end - max(start, reach))
        reach = max(reach, end)
    return total


def _oli(**values: Any) -> dict[str, Any]:
    return {OLI + name: value for name, value in values.items()}


def _media(**values: Any) -> dict[str, Any]:
    return {MEDIA + name.replace("_", "-"): value for name, value in values.items()}


def _section_id(number: int) -> int:
    return 2161 + 13 * number


def _midnight(plan: SamplePlan, day: int) -> datetime:
    return datetime.combine(plan.start + timedelta(days=day), time.min, UTC)


def _stamp(at: datetime) -> str:
    return at.isoformat(timespec="microseconds")[:26] + "Z"


def _guid(rng: Random) -> str:
    text = f"{rng.getrandbits(128):032x}"
    return f"{text[:8]}-{text[8:12]}-4{text[13:16]}-a{text[17:20]}-{text[20:]}"
