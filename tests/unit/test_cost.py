"""The costs of docs/cost.md are those of bench/cost.py, and its arithmetic is right."""

import json
import re
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner

from bench.cost import ALARMS, LONGEST_WINDOW, METRICS, Inputs, main, month, tables
from bench.prices import PRICES
from loader.log import UNITS
from tests.helpers.paths import ROOT

FREE = {name: 0.0 for name, value in PRICES.items() if isinstance(value, float)}
DAY = 24 * 60 * 30  # minutes of a month


def test_the_page_shows_what_the_script_prints():
    page = (ROOT / "docs" / "cost.md").read_text()
    shown = re.search(r"<!-- tables of bench/cost.py -->\n(.*)\n<!-- end -->", page, re.DOTALL)[1]
    assert shown == tables(Inputs(), PRICES)


def test_the_number_of_alarms_is_that_of_the_template():
    template = (ROOT / "lambda" / "template.yaml").read_text()
    assert template.count("AWS::CloudWatch::Alarm") == ALARMS
    assert len(UNITS) == METRICS


def parameter(template: str, name: str) -> str:
    """A parameter of a template, as text."""
    text = (ROOT / "lambda" / template).read_text()
    return re.search(rf"^  {name}:\n((?:    .*\n|\n)*)", text, re.MULTILINE)[1]


def test_windows_and_tasks_are_those_of_the_templates():
    assert f"MaxValue: {LONGEST_WINDOW}\n" in parameter("template.yaml", "BatchWindowSeconds")
    given = Inputs()
    assert f"Default: {given.dbt_minutes}\n" in parameter("transform.yaml", "EveryMinutes")
    assert f'Default: "{given.task_vcpus * 1024}"' in parameter("transform.yaml", "Cpu")
    assert f'Default: "{given.task_gb * 1024}"' in parameter("transform.yaml", "Memory")
    assert "Default: X86_64" in parameter("transform.yaml", "Architecture")


@pytest.mark.parametrize(
    ("price", "rate", "window", "dollars"),
    [
        # 100 objects a minute: 4.32 million objects.
        ({"S3, a million PUT requests": 1.0}, 100, 5, 4.32),
        ({"S3, a million GET or HEAD requests": 1.0}, 100, 5, 8.64),
        # 15 idle requests a minute, 1.2 requests an object.
        ({"SQS, a million requests": 1.0}, 100, 5, 1.2 * 4.32 + 0.648),
        # A task every five minutes: two requests each, and those of the objects.
        ({"SQS, a million requests": 1.0}, 100, 300, 1.2 * 4.32 + 2 * DAY / 5 / 1e6),
        # A load every 60 + 60 s, one every minute of a full batch, and none of a task.
        ({"Lambda, a million requests": 1.0}, 1, 60, DAY / 2 / 1e6),
        ({"Lambda, a million requests": 1.0}, 100, 60, DAY / 1e6),
        ({"Lambda, a million requests": 1.0}, 100, 300, 0),
        # 90 s every ten minutes; every five minutes, and a load of 0.5 s and 5 objects of 2 ms.
        ({"Fargate, a vCPU and hour": 1.0}, 1, 5, DAY / 10 * 90 / 3600),
        ({"Fargate, a GB and hour": 1.0}, 1, 5, 2 * DAY / 10 * 90 / 3600),
        ({"Fargate, a vCPU and hour": 1.0}, 1, 300, DAY / 5 * 90.51 / 3600),
        ({"CloudWatch, a metric and month": 0.3}, 1, 5, 2.7),
        ({"Secrets Manager, a secret and month": 0.4}, 1, 5, 0.4),
        # 20 statements of 1.2 KB an object, for twelve months.
        ({"S3, a GB and month": 1.0}, 100, 5, 4.32e6 * 20 * 1200 * 12 / 1e9),
    ],
)
def test_an_item_is_counted(price, rate, window, dollars):
    found = month(rate, window, Inputs(), FREE | price)
    assert found.total == pytest.approx(dollars)


def test_a_service_is_paid_while_it_is_awake():
    price = FREE | {"ClickHouse, a compute unit and hour": 1.0}
    always = month(100, 5, Inputs(), price)
    assert (always.active, always.total) == (1, 2 * 720)
    # A task every half an hour, and 302.5 s until the service idles again.
    sometimes = month(1, 1800, Inputs(), price)
    assert sometimes.active == pytest.approx(302.5 / 1800)
    # By day always, by night after each run of dbt.
    half = month(100, 5, replace(Inputs(), hours_a_day=12), price)
    assert half.active == pytest.approx(0.5 + 0.5 * 302 / 600)
    # One of two loads in ten minutes finds the service idle.
    rare = month(0.1, 5, Inputs(), price)
    assert rare.active == pytest.approx(1 - (1 - 302 / 600) * (1 - 300.5 / 605))
    assert month(0, 5, Inputs(), price).active == pytest.approx(302 / 600)


def test_more_load_takes_more_units():
    units = [month(rate, 5, Inputs(), PRICES).units for rate in (1, 100, 10_000, 100_000)]
    assert units == sorted(units) and units[0] == 2 and units[3] > units[2]


def printed(*arguments: str, code: int = 0) -> str:
    """What the script prints."""
    done = CliRunner().invoke(main, arguments)
    assert done.exit_code == code, done.output
    return done.output


def priced(folder: Path, prices: object) -> tuple[str, str]:
    """Arguments with a file of prices."""
    (folder / "mine.json").write_text(json.dumps(prices))
    return "--prices", str(folder / "mine.json")


def test_a_price_that_is_a_whole_number_is_printed(tmp_path):
    shown = printed(*priced(tmp_path, {"S3, a million PUT requests": 7, "date": "2026"}))
    assert "| S3, a million PUT requests | $7 |" in shown


@pytest.mark.parametrize(
    "prices",
    [{"S3, a million PUT request": 1}, {"SQS, a million requests": "x"}, [1], {"Fargate": 1}]
    + [{"SQS, a million requests": value} for value in (True, -1, None)],
)
def test_a_wrong_price_is_refused(prices, tmp_path):
    shown = printed(*priced(tmp_path, prices), code=2)
    assert "known: " in shown or "accepted: a number" in shown


@pytest.mark.parametrize(
    "change",
    ["batch=abc", "statements=0", "unit=1", "units", "hours_a_day=25", "batch=-1", "batch=nan"],
)
def test_a_wrong_input_is_refused(change):
    assert "accepted: " in printed("--set", change, code=2)
