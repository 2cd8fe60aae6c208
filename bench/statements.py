"""SQL that generates statements in Torus's format: a million lines in a few seconds.

Line `n` is the same in every run. Families: video 58 %, part attempts 20 %, activity attempts 10 %,
page attempts 4 %, page views 8 %; 1.2 KB a line.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime

OLI = "http://oli.cmu.edu/extensions/"
MEDIA = "https://w3id.org/xapi/video/extensions/"
CATEGORIES = ("video", "attempt_evaluated", "page_viewed")
FIRST_SECTION = 2161

_HEAD = (
    '{"actor":{"account":{"homePage":"https://proton.oli.cmu.edu","name":@user@},'
    '"objectType":"Agent"},"verb":{"id":"@iri@","display":{"en-US":"@verb@"}},'
    '"object":{"id":"@object@","definition":{"name":{"en-US":"@name@"},"type":"@type@"@sub_type@},'
    '"objectType":"Activity"},"result":@result@,"context":{@activities@"extensions":{'
    f'"{OLI}section_id":@section@,"{OLI}project_id":@project@,"{OLI}publication_id":@publication@,'
    f'"{OLI}page_attempt_number":1,"{OLI}page_attempt_guid":"@guid@",'
    f'"{OLI}@page_name@":@page@@more@}}}},"timestamp":"@time@"@registration@}}'
)
_VIDEO_RESULTS = {
    "played": f'{{"extensions":{{"{MEDIA}time":@position@}}}}',
    "paused": f'{{"extensions":{{"{MEDIA}time":@position@,"{MEDIA}progress":@progress@,'
    f'"{MEDIA}played-segments":"@segments@"}}}}',
    "seeked": f'{{"extensions":{{"{MEDIA}time-from":@position@,"{MEDIA}time-to":@target@}}}}',
    "completed": f'{{"extensions":{{"{MEDIA}time":@length@,"{MEDIA}progress":1.0,'
    f'"{MEDIA}played-segments":"@segments@"}}}}',
}
_ACTIVITY = (
    f',"{OLI}activity_attempt_number":1,"{OLI}activity_attempt_guid":"@activity_guid@",'
    f'"{OLI}activity_id":@activity@,"{OLI}activity_revision_id":@revision@'
)
_SCORE = '"score":{"scaled":@scaled@,"raw":@points@,"min":0,"max":4},'
_DONE = '"completion":true,"success":true'


def _video(verb: str) -> str:
    length = "" if verb == "seeked" else f',"{MEDIA}length":@length@'
    return _fill(
        _HEAD,
        iri=f"https://w3id.org/xapi/video/verbs/{verb}",
        verb=verb,
        object="https://cdn.example.org/media/@page@/part-1.mp4",
        name="@title@",
        type="https://w3id.org/xapi/video/activity-type/video",
        sub_type="",
        result=_VIDEO_RESULTS[verb],
        activities='"contextActivities":{"category":[{"id":"https://w3id.org/xapi/video"}]},',
        page_name="resource_id",
        more=f',"{OLI}content_element_id":"@element@","{OLI}enrollment_id":@enrollment@{length}',
        registration=',"registration":"@section@-@page@-@element@"',
    )


def _attempt(name: str, kind: str, guid: str, result: str, more: str) -> str:
    return _fill(
        _HEAD,
        iri="http://adlnet.gov/expapi/verbs/completed",
        verb="completed",
        object=f"https://proton.oli.cmu.edu/{name.lower().replace(' ', '_')}/{guid}}}",
        name=name,
        type=kind,
        sub_type="",
        result=f"{{{_SCORE}{result}{_DONE}}}",
        activities="",
        page_name="page_id",
        more=more,
        registration="",
    )


def _fill(template: str, **values: str) -> str:
    """Put values into a template; markers in the values are kept."""
    return re.sub(r"@(\w+)@", lambda marker: values.get(marker[1], marker[0]), template)


# A condition for each kind of line, and the line's template. `pick` and `verb_pick` are 0 to 99.
_KINDS = {
    "pick < 58 and verb_pick < 45": _video("played"),
    "pick < 58 and verb_pick < 82": _video("paused"),
    "pick < 58 and verb_pick < 93": _video("seeked"),
    "pick < 58": _video("completed"),
    "pick < 78": _attempt(
        "Part Attempt",
        "http://adlnet.gov/expapi/activities/question",
        "@part_guid@",
        f'"response":{{"input":"@answer@","files":[]}},"extensions":{{"{OLI}feedback":{{"content":'
        '[{"type":"p","children":[{"text":"@feedback@"}]}]}},',
        f'{_ACTIVITY},"{OLI}part_attempt_number":@number@,"{OLI}part_attempt_guid":"@part_guid@",'
        f'"{OLI}part_id":"@number@","{OLI}hints_requested":@hints@,'
        f'"{OLI}attached_objectives":[@number@,42],"{OLI}session_id":"s-@enrollment@"',
    ),
    "pick < 88": _attempt(
        "Activity Attempt", f"{OLI}activity_attempt", "@activity_guid@", "", _ACTIVITY
    ),
    "pick < 92": _attempt("Page Attempt", f"{OLI}page_attempt", "@guid@", "", ""),
    "": _fill(
        _HEAD,
        iri="http://id.tincanapi.com/verb/viewed",
        verb="viewed",
        object="https://proton.oli.cmu.edu/page/@page@}",
        name="Page",
        type=f"{OLI}types/page",
        sub_type=',"subType":"practice"',
        result=f"{{{_DONE}}}",
        activities="",
        page_name="page_id",
        more="",
        registration="",
    ),
}
# Terms that the markers' SQL expressions use, beside `number`; each may use those before it.
_TERMS = """
    cityHash64(number) as h1,
    cityHash64(number, 1) as h2,
    cityHash64(number, 2) as h3,
    {start} + intDiv((number - {first}) * {span}, {count}) as microseconds,
    fromUnixTimestamp64Micro(toInt64(microseconds), 'UTC') as at,
    {section_index} as section_index,
    {pick} as pick,
    h3 % 100 as verb_pick,
    intDiv(microseconds - {start}, 604800000000) as week,
    {first_section} + 13 * section_index as section_number,
    1719 + intDiv(section_index, 2) as project_number,
    section_number * 1000 + bitShiftRight(h1, 20) % 120 as learner,
    1000 * project_number + week as page_number,
    cityHash64(page_number) as of_page,
    cityHash64(learner, page_number) as of_visit,
    120 + of_page % 54000 / 100 as seconds,
    round(seconds * (bitShiftRight(h3, 10) % 1000) / 1000, 2) as played_to
"""
_GUID = "toString(reinterpretAsUUID(bitShiftLeft(toUInt128(cityHash64({0})), 64) + xxHash64({0})))"
_MARKERS = {
    "user": "if(h2 % 5 = 0, concat('\"', toString(learner), '\"'), toString(learner))",
    "section": "toString(section_number)",
    "project": "toString(project_number)",
    "publication": "toString(5 * project_number)",
    "page": "toString(page_number)",
    "guid": _GUID.format("of_visit"),
    "activity_guid": _GUID.format("(of_visit, h2 % 2)"),
    "part_guid": _GUID.format("h1"),
    "activity": "toString(7 * page_number + h2 % 2)",
    "revision": "toString(8 * (7 * page_number + h2 % 2) + 3)",
    "title": "concat(toString(week + 1), '.1 ', ['Cells and membranes', 'Énergie — «cinétique»',"
    " 'Photosynthesis', 'DNA → RNA → protein', 'Osmosis, part 1/2'][of_page % 5 + 1])",
    "element": "toString(1000000000 + of_page % 3000000000)",
    "enrollment": "toString(9000 + learner)",
    "length": "toString(seconds)",
    "position": "toString(played_to)",
    "target": "toString(round(seconds * (bitShiftRight(h1, 30) % 1000) / 1000, 0))",
    "progress": "toString(round(played_to / seconds, 4))",
    "segments": "arrayStringConcat(arrayMap(part -> concat("
    "toString(round(played_to * part / 4, 2)), '[.]',"
    " toString(round(played_to * (part + 1) / 4, 2))), range(1 + h2 % 4)), '[,]')",
    "points": "toString(h2 % 5)",
    "scaled": "toString(h2 % 5 / 4)",
    "answer": "['mitochondria → power house', 'osmosis', 'no idea', 'ΔG < 0', 'a, c', '42']"
    "[h3 % 6 + 1]",
    "feedback": "if(h2 % 5 > 2, 'Correct!', 'Try again.')",
    "number": "toString(1 + h3 % 3)",
    "hints": "if(h3 % 3 = 0, '0', '[\"h1\",\"h2\"]')",
    # Every 25th statement has another UTC offset.
    "time": "if(h1 % 25 = 0, concat(left(replaceOne(toString(at + 7200), ' ', 'T'), 26), '+02:00'),"
    " concat(replaceOne(toString(at), ' ', 'T'), 'Z'))",
}
_MIXED = "h2 % 100"
# Picks of each category, out of a hundred: 58 video, 34 attempts, 8 page views.
_OF_CATEGORY = "multiIf(kind < 58, h2 % 58, kind < 92, 58 + h2 % 34, 92 + h2 % 8)"


@dataclass(frozen=True)
class Lines:
    """A sequence of lines.

    Attributes:
        first: number of the first line; a number always gives the same line.
        count: number of lines.
        sections: number of course sections that they are spread over.
        start: time of the first line.
        days: number of days that they span, evenly.
        per_object: number of successive lines of one section and category; 0 to mix all.
        family: SQL expression of the picks, to generate only some kinds (see `_KINDS`).
    """

    first: int
    count: int
    sections: int = 300
    start: datetime = datetime(2025, 1, 1, tzinfo=UTC)
    days: float = 364.0
    per_object: int = 0
    family: str = ""

    def part(self, number: int, parts: int) -> "Lines":
        """One of `parts` equal parts, in order of time, counted from 0."""
        size = self.count // parts
        return Lines(
            self.first + number * size,
            size,
            self.sections,
            datetime.fromtimestamp(
                self.start.timestamp() + 86400 * self.days * number / parts, tz=UTC
            ),
            self.days / parts,
            self.per_object,
            self.family,
        )

    def sql(self, more: str = "") -> str:
        """A select of the lines, as `line`.

        Args:
            more: further columns, which may use `number`, `section_number`, `at` and other terms.
        """
        if self.per_object:
            block = f"intDiv(number, {self.per_object})"
            section = f"{block} % {self.sections}"
            pick = _OF_CATEGORY.replace("kind", f"({block} * 61 % 100)")
        else:
            section, pick = f"h1 % {self.sections}", _MIXED
        terms = _TERMS.format(
            first=self.first,
            count=self.count,
            start=int(self.start.timestamp() * 1_000_000),
            span=int(self.days * 86400 * 1_000_000),
            section_index=section,
            pick=self.family or pick,
            first_section=FIRST_SECTION,
        )
        branches = [
            f"{condition}, {_concat(text)}" if condition else _concat(text)
            for condition, text in _KINDS.items()
        ]
        # Some producers escape slashes.
        line = f"multiIf({', '.join(branches)})"
        return (
            f"with {terms} select if(h3 % 25 = 0, replaceAll({line} as plain, '/', '\\\\/'), plain)"
            f" as line{', ' + more if more else ''} from numbers({self.first}, {self.count})"
        )


def _concat(template: str) -> str:
    """Turn a template into SQL: its text and its markers' expressions, concatenated."""
    pieces = re.split(r"@(\w+)@", template)
    quoted = [
        _MARKERS[piece] if place % 2 else "'" + piece.replace("'", "\\'") + "'"
        for place, piece in enumerate(pieces)
    ]
    return f"concat({', '.join(quoted)})"
