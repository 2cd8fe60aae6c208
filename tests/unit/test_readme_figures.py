"""The figures that the README shows are those of the report."""

import json
import re

import pytest

from bench.report import figure
from tests.helpers.paths import ROOT

README = (ROOT / "README.md").read_text()
MEASURED = json.loads((ROOT / "bench" / "results.json").read_text())["measurements"]

# What the README says, the measurement and the beginning of its row.
SHOWN = {
    "objects of 20 lines, S3 to committed raw": (
        "load",
        "load 10,000 objects of 20 lines",
    ),
    "raw lines into `video_events`, dbt's start-up included": ("transform", "dbt run"),
    "a section's last 30 days of 10 million events": (
        "section_queries",
        "section + 30 days, 300 sections: p50",
    ),
    "20 objects/s onto 10 million events over HTTP: stored in S3 to visible in `video_events`, "
    "95 % within": (
        "fresh",
        "180 s of 20 objects/s onto 10,000,000 events, http: put to visible in video_events, p95",
    ),
}


@pytest.mark.parametrize("says", SHOWN)
def test_the_readme_shows_the_figures_of_the_report(says):
    measurement, beginning = SHOWN[says]
    (row,) = [row for row in MEASURED[measurement] if row["what"].startswith(beginning)]
    shown = re.search(rf"^\| {re.escape(says)} \| (.+) \|$", README, re.MULTILINE)
    assert shown, f"the README has no row {says!r}"
    measured = f"{figure(row['ours'])} {row['unit']}"
    assert shown[1] == measured, "the report is another: put its figure into the README"
