"""What worker and transform serve to Prometheus, and when they are healthy."""

import json
import urllib.error
import urllib.request

import pytest

from loader.errors import SettingsError
from loader.metrics import Board, board_for
from tests.helpers.ministack import free_port

TABLE = {"name": "video_events", "kind": "table", "waiting_lines": 9}
BEHIND = TABLE | {"waiting_loads": 2, "lag_seconds": 90, "is_behind": True}
MART = {"name": "int_learner_videos", "kind": "mart", "is_behind": False}


class Clocked:
    """A board with a clock that is set by hand."""

    def __init__(self):
        self.at = 0.0
        self.board = Board(100, clock=lambda: self.at, now=lambda: 1000 + self.at)

    def value(self, name: str, **labels: str) -> float | None:
        return self.board.registry.get_sample_value(f"xapi_elt_{name}", labels)


@pytest.fixture
def served() -> Clocked:
    return Clocked()


def test_loads_are_counted_by_outcome(served):
    served.board.record("load", objects={"committed": 3, "skipped": 1}, lines=30, seconds=2)
    served.at = 50
    served.board.record("load", objects={"committed": 1, "failed": 1}, lines=5, seconds=1)
    assert served.value("objects_total", outcome="committed") == 4
    assert served.value("objects_total", outcome="failed") == 1
    assert served.value("lines_loaded_total") == 35
    assert served.value("load_seconds_sum") == 3
    assert served.value("last_success_timestamp_seconds", what="load") == 1000


def test_the_lag_of_a_table_grows_until_it_is_read_again(served):
    served.board.record("numbers", tables=[BEHIND, MART], last_day={"rejected_share": 0.25})
    served.at = 30
    assert served.value("table_lag_seconds", table="video_events") == 120
    assert served.value("table_waiting_loads", table="video_events") == 2
    assert served.value("table_behind", table="int_learner_videos") == 0
    assert served.value("rejected_ratio") == 0.25
    up_to_date = TABLE | {"waiting_loads": 0, "lag_seconds": 0, "is_behind": False}
    served.board.record("numbers", tables=[up_to_date, MART], last_day={})
    served.at = 60
    assert served.value("table_lag_seconds", table="video_events") == 0
    assert served.value("last_success_timestamp_seconds", what="transform") == 1030


def test_runs_queue_and_lost_children_are_counted(served):
    served.board.record("transform", is_done=True, seconds=4)
    served.board.record("transform", is_done=False, seconds=1)
    served.board.record("queue", oldest_seconds=12.5, waiting=7, in_flight=1)
    served.board.record("lost")
    assert served.value("transforms_total", outcome="done") == 1
    assert served.value("transforms_total", outcome="failed") == 1
    assert served.value("queue_oldest_seconds") == 12.5
    assert served.value("queue_messages", state="waiting") == 7
    assert served.value("children_lost_total") == 1


def test_a_process_without_progress_is_unhealthy(served):
    served.board.record("alive", phase="transforming")
    served.at = 100
    assert served.board.health()[0]
    served.at = 101
    assert served.board.health() == (
        False,
        {"status": "no progress", "phase": "transforming", "seconds_since_progress": 101},
    )


def get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}") as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_metrics_and_health_are_served():
    port = free_port()
    with board_for(port, 100) as record:
        record("alive", phase="idle")
        code, text = get(port, "/metrics")
        assert code == 200 and "# TYPE xapi_elt_table_lag_seconds gauge" in text
        code, text = get(port, "/healthz")
        assert (code, json.loads(text)["phase"]) == (200, "idle")
        assert get(port, "/")[0] == 404
        with pytest.raises(SettingsError, match="--metrics-port"), board_for(port, 100):
            pass
    with board_for(port, -1):
        assert get(port, "/healthz")[0] == 503
