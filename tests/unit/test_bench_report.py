"""The report of the benchmarks, when a part of it is measured again."""

import json

import pytest

from bench import report
from bench.rows import Row
from bench.sizes import SIZES

SIZE = "small"


@pytest.fixture
def about(tmp_path, monkeypatch):
    """What a run was, with a report in which `fresh` failed."""
    monkeypatch.setattr(report, "FOLDER", tmp_path)
    about = report.machine() | {"date": "then", "minutes": 1, "prices": {}, "failed": ["fresh"]}
    report.write({"load": [Row("objects", 1, "s", at_most=2)]}, SIZE, SIZES[SIZE], about)
    return about


def test_what_is_measured_again_is_in_the_report_with_its_date(about, tmp_path):
    report.replace({"fresh": [Row("p95", 7, "s")]}, SIZE, SIZES[SIZE], about | {"date": "now"})
    results = json.loads((tmp_path / "results.json").read_text())
    assert {name: rows[0]["ours"] for name, rows in results["measurements"].items()} == {
        "load": 1,
        "fresh": 7,
    }
    assert results["run"]["failed"] == [] and results["run"]["date"] == "then"
    page = (tmp_path / "README.md").read_text()
    assert "How fresh the tables are, now" in page and "uninterrupted" not in page


def test_a_run_of_another_size_or_engine_replaces_nothing(about, tmp_path):
    before = (tmp_path / "results.json").read_text()
    with pytest.raises(ValueError, match="differs in size, volumes"):
        report.replace({"fresh": []}, "large", SIZES["large"], about)
    with pytest.raises(ValueError, match="differs in engine"):
        report.replace({"fresh": []}, SIZE, SIZES[SIZE], about | {"engine": "1"})
    assert (tmp_path / "results.json").read_text() == before
