"""Who watched which parts of a video, by a walk over its events, for tests to compare the SQL with.

It is written from the definitions in docs/watched.md and shares nothing with the SQL.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from itertools import pairwise
from uuid import UUID

ORDER_OF_VERBS = ["completed", "paused", "terminated", "seeked", "initialized", "played"]
LAST_VERB = "interacted"
DROPPED_PARAMETER = re.compile(r"(t|start|X-Amz-.*|Expires|Signature|Key-Pair-Id)\Z", re.DOTALL)
NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)([eE][+-]?[0-9]+)?\Z")
LAST_PLACE = 86400.0
STARTS_UP_TO = 30.0


@dataclass(frozen=True)
class Rules:
    """The variables of the definition."""

    max_speed: float = 2.0
    slack: float = 2.0


@dataclass(frozen=True)
class Event:
    """The columns of `video_events` that the definition reads."""

    event_id: UUID
    timestamp: datetime
    verb: str
    learner_id: str = "ann"
    section_id: int = 1
    course_id: str = ""
    video_url: str | None = "v"
    session_id: str | None = None
    page_id: int | None = None
    page_attempt_guid: str | None = None
    content_element_id: str | None = None
    video_time: float | None = None
    video_seek_from: float | None = None
    video_seek_to: float | None = None
    video_played_segments: str | None = None

    @classmethod
    def of_row(cls, row: dict) -> "Event":
        """From a row of the table, with more columns than these."""
        names = {column.name for column in fields(cls)}
        kept = {name: value for name, value in row.items() if name in names}
        kept["event_id"] = UUID(str(row["event_id"]))
        if isinstance(row["timestamp"], str):
            kept["timestamp"] = datetime.fromisoformat(row["timestamp"]).replace(tzinfo=UTC)
        return cls(**kept)

    def milliseconds(self) -> int:
        """Its time since 1970."""
        since = self.timestamp.astimezone(UTC) - datetime(1970, 1, 1, tzinfo=UTC)
        return (since.days * 86400 + since.seconds) * 1000 + since.microseconds // 1000

    def order(self) -> tuple:
        """What a player's events are sorted by. ClickHouse sorts UUIDs by their second half."""
        rank = ORDER_OF_VERBS.index(self.verb) + 1 if self.verb in ORDER_OF_VERBS else 0
        rank = 7 if self.verb == LAST_VERB else rank
        halves = divmod(self.event_id.int, 1 << 64)
        return self.milliseconds(), rank, halves[1], halves[0]

    def place(self) -> float | None:
        """Where in the video it happened; a jump ends where it leads to."""
        return place(self.video_seek_to if self.verb == "seeked" else self.video_time)


@dataclass
class Stretch:
    """A part of the video that was played without a break, as far as the events show."""

    start: float | None
    began: int
    is_play: bool
    end: float | None = None

    def see(self, at: float | None, when: int, rules: Rules, is_next: bool = False) -> None:
        """Extend it to a place, if the clock allows that the player reached it."""
        if self.start is None or at is None:
            return
        advance, elapsed = at - self.start, (when - self.began) / 1000
        allowed = 0 < advance <= elapsed * rules.max_speed + rules.slack
        if is_next:
            allowed = allowed and elapsed <= 1.1 * advance + 15
        if allowed:
            self.end = at if self.end is None else max(self.end, at)


@dataclass
class Player:
    """What one player of a learner played of a video."""

    stretches: list[Stretch] = field(default_factory=list)
    plays: int = 0
    starts: int = 0
    lost: int = 0
    reported: list[tuple[float, float]] = field(default_factory=list)
    is_reported_used: bool = False


@dataclass
class Watched:
    """A row of `fct_learner_videos`, without its key."""

    events: int
    sessions: int
    plays: int
    plays_without_end: int
    starts: int
    completions: int
    first_at: datetime
    last_at: datetime
    pieces: list[tuple[float, float, int]]
    seconds_seen: float
    seconds_played: float
    seconds_rewatched: float
    reported_seconds: float
    paired_seconds: float
    last_place: float | None
    days: list[tuple[str, int, int, int, float]]


Key = tuple[int, str, str, str]


def place(number: float | None) -> float | None:
    """A number of seconds within a day, or nothing."""
    return abs(number) if number is not None and 0 <= number <= LAST_PLACE else None


def video_key(url: str) -> str:
    """The address of a video without what differs between two views of it."""
    address, mark, query = url.partition("#")[0].partition("?")
    kept = [
        parameter
        for parameter in query.split("&")
        if parameter and not DROPPED_PARAMETER.match(parameter.partition("=")[0])
    ]
    rest = "&".join(kept)
    return address + (mark + rest if rest else "")


def segments(text: str | None) -> set[tuple[float, float]]:
    """The segments of a report: pairs of places, the first before the second."""
    found = set()
    for item in (text or "").split("[,]"):
        ends = [end.strip(" ") for end in item.split("[.]")]
        if len(ends) == 2 and all(NUMBER.match(end) for end in ends):
            low, high = map(place, map(float, ends))
            if low is not None and high is not None and low < high:
                found.add((low, high))
    return found


def union(intervals: Iterable[tuple[float, float]]) -> list[tuple[float, float]]:
    """The same places as disjoint intervals."""
    merged: list[tuple[float, float]] = []
    for low, high in sorted(intervals):
        if merged and low <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(merged[-1][1], high))
        else:
            merged.append((low, high))
    return merged


def length(intervals: Iterable[tuple[float, float]]) -> float:
    """Seconds that any of the intervals covers."""
    return sum(high - low for low, high in union(intervals))


def walk(events: Sequence[Event], rules: Rules) -> Player:
    """Follow one player through its events."""
    player, running = Player(), None
    ordered = sorted(events, key=Event.order)
    for event in ordered:
        at, when = place(event.video_time), event.milliseconds()
        if event.verb == "played":
            if running:
                running.see(at, when, rules, is_next=True)
            running = Stretch(at, when, is_play=True)
            player.stretches.append(running)
            player.plays += at is not None
            player.starts += at is not None and at <= STARTS_UP_TO
        elif event.verb == "seeked" and running:
            running.see(place(event.video_seek_from), when, rules)
            running = Stretch(place(event.video_seek_to), when, is_play=False)
            player.stretches.append(running)
        elif event.verb in ("paused", "terminated"):
            if running:
                running.see(at, when, rules)
            running = None
        elif event.verb in ("completed", "interacted"):
            if running:
                running.see(at, when, rules)
        elif event.verb == "initialized":
            running = None

    player.lost = sum(
        stretch.is_play and stretch.start is not None and stretch.end is None
        for stretch in player.stretches
    )
    player.stretches = [stretch for stretch in player.stretches if stretch.end is not None]
    player.reported = sorted(set().union(*(segments(e.video_played_segments) for e in events)))
    bound = (ordered[-1].milliseconds() - ordered[0].milliseconds()) / 1000 * rules.max_speed
    player.is_reported_used = player.plays == 0 or (
        player.lost > 0 and length(player.reported) <= bound + rules.slack
    )
    return player


def pieces(
    stretches: list[tuple[float, float]], reported: list[tuple[float, float]]
) -> list[tuple[float, float, int]]:
    """Disjoint pieces with the number of times that each was played."""
    borders = sorted({end for interval in stretches + reported for end in interval})
    found: list[tuple[float, float, int]] = []
    for low, high in pairwise(borders):
        views = sum(start <= low and high <= end for start, end in stretches)
        if not views:
            views = int(any(start <= low and high <= end for start, end in reported))
        if views and found and found[-1][1:] == (low, views):
            found[-1] = (found[-1][0], high, views)
        elif views:
            found.append((low, high, views))
    return found


def watched(events: Iterable[Event], rules: Rules | None = None) -> dict[Key, Watched]:
    """What each learner watched of each video of a section."""
    groups: dict[Key, list[Event]] = defaultdict(list)
    for event in events:
        if event.video_url:
            key = (event.section_id, event.course_id, event.learner_id, video_key(event.video_url))
            groups[key].append(event)
    return {key: _group(found, rules or Rules()) for key, found in groups.items()}


def _group(events: list[Event], rules: Rules) -> Watched:
    by_player: dict[tuple, list[Event]] = defaultdict(list)
    for event in events:
        by_player[
            event.session_id or "",
            event.page_id or 0,
            event.page_attempt_guid or "",
            event.content_element_id or "",
        ].append(event)
    players = {key: walk(found, rules) for key, found in by_player.items()}
    stretches = [stretch for player in players.values() for stretch in player.stretches]
    paired = [(stretch.start, stretch.end) for stretch in stretches]
    used = [
        pair for player in players.values() if player.is_reported_used for pair in player.reported
    ]
    found = pieces(paired, used)
    times = [event.timestamp for event in events]
    places = [event.place() for event in sorted(events, key=Event.order)]
    return Watched(
        events=len(events),
        sessions=len(
            {key if not key[0] else key[0] for key, player in players.items() if player.plays}
        ),
        plays=sum(player.plays for player in players.values()),
        plays_without_end=sum(player.lost for player in players.values()),
        starts=sum(player.starts for player in players.values()),
        completions=sum(event.verb == "completed" for event in events),
        first_at=min(times),
        last_at=max(times),
        pieces=found,
        seconds_seen=sum(high - low for low, high, _ in found),
        seconds_played=sum((high - low) * views for low, high, views in found),
        seconds_rewatched=sum((high - low) * (views - 1) for low, high, views in found),
        reported_seconds=length(pair for player in players.values() for pair in player.reported),
        paired_seconds=length(paired),
        last_place=next((at for at in reversed(places) if at is not None), None),
        days=_days(events, stretches),
    )


def _days(events: list[Event], stretches: list[Stretch]) -> list[tuple[str, int, int, int, float]]:
    counts: dict[str, Counter] = defaultdict(Counter)
    for event in events:
        day = counts[_day(event.milliseconds())]
        day["events"] += 1
        day["plays"] += event.verb == "played" and place(event.video_time) is not None
        day["completions"] += event.verb == "completed"
    for stretch in stretches:
        counts[_day(stretch.began)]["seconds"] += stretch.end - stretch.start
    return [
        (day, of["events"], of["plays"], of["completions"], float(of["seconds"]))
        for day, of in sorted(counts.items())
    ]


def _day(milliseconds: int) -> str:
    return f"{datetime.fromtimestamp(milliseconds // 1000, UTC):%Y-%m-%d}"
