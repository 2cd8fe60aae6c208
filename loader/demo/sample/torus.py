"""Generate Torus's statements: a week of a section, learner by learner and page by page."""

from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import Any, NamedTuple

from loader.demo.sample.plan import SamplePlan, midnight
from loader.demo.sample.statements import (
    ADL,
    COMPLETED,
    EXPERIENCED,
    PAUSED,
    PLAYED,
    PROFILE,
    SEEKED,
    VIDEO,
    WATCHED,
    Event,
    encode,
    media,
    new_guid,
    stamp_of,
)

HOME = "https://proton.oli.cmu.edu"
OLI = "http://oli.cmu.edu/extensions/"
VIEWED, TUTORED = "http://id.tincanapi.com/verb/viewed", f"{OLI}verbs/tutor_message"

TITLES = (
    "Cells and membranes", "L'énergie — «cinétique» \\ 2", "Photosynthesis", '"Enzyme" kinetics',
    "DNA → RNA → protein", "自然選択", "Ökologie: Räuber & Beute", "Osmosis, part 1/2",
)  # fmt: skip
ANSWERS = ('mitochondria → "power house"', "osmosis", "I don't know", "ΔG < 0", "a, c", "42")

# Weights of Monday to Sunday: most work is done on the evening before a Monday deadline.
WEEKDAYS = (5, 6, 6, 5, 2, 3, 9)


def section_week(plan: SamplePlan, section: int, week: int) -> list[Event]:
    """Generate the page visits of a section's learners in one week.

    Args:
        plan: the parameters.
        section: the section, counted from 0.
        week: the week, counted from 0.
    """
    rng = Random(f"{plan.seed}/{section}/{week}")
    days = [midnight(plan, 7 * week + day) for day in range(7)]
    weights = [WEEKDAYS[day.weekday()] for day in days]
    events: list[Event] = []
    for learner in range(plan.learners):
        traits = Random(f"{plan.seed}/{section}/learner/{learner}")
        diligence, skill = traits.betavariate(2.5, 1.5), traits.betavariate(4, 3)
        fatigue = 0.4 * (1 - diligence) * week / plan.weeks
        # One learner is always active, so that no week of a section is empty.
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


def section_id_of(number: int) -> int:
    """The id of a section in Torus.

    Args:
        number: the section, counted from 0.
    """
    return 2161 + 13 * number


class _Video(NamedTuple):
    url: str
    title: str
    length: float
    element: str


@dataclass
class _Visit:
    """One visit of a learner to a page."""

    plan: SamplePlan
    rng: Random
    section: int
    user: int
    diligence: float
    skill: float
    week: int
    number: int
    at: datetime
    seen: list[Event] = field(default_factory=list)

    def __post_init__(self) -> None:
        # The account's name is a number in most statements and a string in others.
        name = self.user if self.rng.random() < 0.8 else str(self.user)
        self.actor = encode({"account": {"homePage": HOME, "name": name}, "objectType": "Agent"})
        project = 1719 + self.section // 2  # two sections share a project and its videos
        self.page, self.has_attempts = 1000 * project + self.week, self.week % 6 != 4
        self.section_id, self.guid = section_id_of(self.section), new_guid(self.rng)
        self.where = _oli(
            section_id=self.section_id,
            project_id=project,
            publication_id=5 * project,
            page_attempt_number=self.number if self.has_attempts else None,
            page_attempt_guid=self.guid if self.has_attempts else None,
        )

    def events(self) -> list[Event]:
        """Generate the visit: view the page, watch its videos, answer its questions."""
        rng, page = self.rng, self.page
        sub_type = {"subType": ("practice", "graded")[page % 2]}
        # Torus's statements have this stray brace, too.
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
        """A video of the page, the same for all learners."""
        rng = Random(f"{self.plan.seed}/{self.page}/{number}")
        title = f"{self.week + 1}.{number + 1} {TITLES[(self.week + 5 * number) % len(TITLES)]}"
        url = f"https://cdn.example.org/media/{self.page}/part-{number + 1}.mp4"
        if (self.week + number) % 3 == 2:
            url = f"https://www.youtube.com/watch?v={rng.getrandbits(44):011x}&t=1s"
        # Outside an attempt, Torus writes the page's id as the element's.
        element = rng.randrange(10**9, 4 * 10**9) if self.has_attempts else self.page
        return _Video(url, title, round(rng.uniform(120, 660), 2), str(element))

    def watch(self, video: _Video) -> None:
        """Generate playing, pausing and seeking in a video, in some cases to its end."""
        rng, length = self.rng, video.length
        activity = _activity(video.url, video.title, VIDEO)
        element = _oli(content_element_id=video.element, enrollment_id=9000 + self.user)
        full, group = element | media(length=length), {"category": [{"id": PROFILE}]}
        usual, without_length, older = (
            self.context(more, page, contextActivities=group)
            for more, page in ((full, "resource_id"), (element, "resource_id"), (full, "page_id"))
        )
        name = f',"registration":"{self.section_id}-{self.page}-{video.element}"'

        def say(verb: str, context: str = usual, name: str = name, **result: Any) -> None:
            self.say("video", verb, activity, {"extensions": media(**result)}, context, name)

        resumes = rng.random() < (0.12 if self.number == 1 else 0.5)
        position = round(length * rng.uniform(0.05, 0.6), 2) if resumes else 0.0
        # Some watch it to the end; the others tend to leave early.
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
        """Generate one to three part attempts of an activity; returns the points."""
        rng, guid, right = self.rng, new_guid(self.rng), 0
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
        """Generate one part attempt, with the variants of response, feedback, hints and objectives
        that occur in real statements."""
        guid, text, chance = new_guid(self.rng), self.rng.choice(ANSWERS), self.rng.random()
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
        """Generate the score of an activity or of the page."""
        self.wait(0.1, 5)
        name = kind.replace("_", " ").title()
        activity = _activity(f"{HOME}/{kind}/{guid}", name, OLI + kind)
        score = {"scaled": round(right / most, 4), "raw": float(right), "min": 0, "max": most}
        result = {"score": score, "completion": True, "success": True}
        self.say(kind, COMPLETED, activity, result, self.context(attempt))

    def context(self, more: dict[str, Any], page: str = "page_id", **head: Any) -> str:
        """The context; `page` is the name that this kind of statement uses for the page's id."""
        return encode({**head, "extensions": {**self.where, OLI + page: self.page, **more}})

    def wait(self, least: float, most: float) -> None:
        """Advance the time, always by more than zero, so that no two statements are the same."""
        self.at += timedelta(seconds=self.rng.uniform(least, most))

    def say(
        self, family: str, verb: str, activity: str, result: Any, context: str, name: str = ""
    ) -> None:
        """Add one statement, in some cases with another spelling of time or slashes."""
        chance, stamp = self.rng.random(), stamp_of(self.at)
        if chance < 0.02:
            stamp = stamp_of(self.at + timedelta(hours=2))[:-1] + "+02:00"
        elif chance < 0.05:
            stamp = stamp[:-4] + "Z"
        line = (
            f'{{"actor":{self.actor},"verb":{{"id":"{verb}","display":'
            f'{{"en-US":"{verb[verb.rindex("/") + 1 :]}"}}}},"object":{activity},'
            f'"result":{encode(result)},"context":{context},"timestamp":"{stamp}"{name}}}'
        )
        if chance > 0.96:
            line = line.replace("/", "\\/")
        category = family if family in ("video", "page_viewed") else "attempt_evaluated"
        self.seen.append(Event(self.at, category, family, line))


def _activity(iri: str, name: str, kind: str, more: dict[str, Any] | None = None) -> str:
    definition = {"name": {"en-US": name}, "type": kind, **(more or {})}
    return encode({"id": iri, "definition": definition, "objectType": "Activity"})


def _covered(segments: list[tuple[float, float]]) -> float:
    total = reach = 0.0
    for start, end in sorted(segments):
        total += max(0.0, end - max(start, reach))
        reach = max(reach, end)
    return total


def _oli(**values: Any) -> dict[str, Any]:
    return {OLI + name: value for name, value in values.items()}
