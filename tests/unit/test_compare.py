"""The comparison of tables with the independent reading notices what is wrong with a table."""

from typing import Any

from tests.helpers.compare import differences, readings
from tests.helpers.oracle_statement import ADL
from tests.helpers.statements import PLAYED, as_line

ANN, BEN = {"mbox": "mailto:ann@b"}, {"mbox": "mailto:ben@b"}
VOIDED = {
    "verb": {"id": f"{ADL}verbs/voided"},
    "object": {"objectType": "StatementRef", "id": "2"},
}
LINES = [
    as_line([PLAYED | {"id": "1", "actor": ANN}, PLAYED | {"id": "2", "actor": ANN}]),
    b"",
    as_line(PLAYED | {"id": "3", "actor": BEN}),
    as_line(PLAYED | VOIDED | {"id": "4"}),
    as_line(PLAYED | {"id": "3", "actor": BEN, "stored": "2025-10-01T00:00:01Z"}),
]
EXPECTED = readings({"path": b"\n".join(LINES)})


class Table:
    """A warehouse that answers every query with the same rows."""

    def __init__(self, *places: tuple[int, int], **changes: Any):
        self._rows = [
            {"source_path": "path", "source_line": line, "source_item": item}
            | EXPECTED["path", line, item].columns
            | {"learner_id": EXPECTED["path", line, item].learner}
            | changes
            for line, item in places
        ]

    def query(self, sql: str) -> list[dict[str, Any]]:
        return self._rows


def test_each_event_is_there_once_from_any_of_its_lines():
    assert differences(Table((1, 1), (3, 0)), EXPECTED, "video") == []
    assert differences(Table((1, 1), (5, 0)), EXPECTED, "video") == []
    assert differences(Table((4, 0)), EXPECTED, "voiding") == []


def test_a_missing_a_doubled_and_a_voided_event_are_differences():
    assert differences(Table((3, 0)), EXPECTED, "video")
    assert differences(Table((1, 1), (3, 0), (5, 0)), EXPECTED, "video")
    assert differences(Table((1, 1), (1, 2), (3, 0)), EXPECTED, "video")


def test_a_wrong_cell_and_mixed_learners_are_differences():
    assert differences(Table((1, 1), (3, 0), section_id=1), EXPECTED, "video")
    mixed = differences(Table((1, 1), (3, 0), learner_id="same"), EXPECTED, "video")
    assert mixed == ["1 learner_id of 2 learners"]
    assert differences(Table((1, 1), (3, 0), learner_id=None), EXPECTED, "video")
