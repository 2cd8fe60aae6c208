"""The costs of docs/cost.md are those of bench/cost.py, and its arithmetic is right."""

import re
from dataclasses import replace

import pytest

from bench.cost import ALARMS, Inputs, month, tables
from bench.prices import PRICES
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


@pytest.mark.parametrize(
    ("price", "rate", "window", "dollars"),
    [
        # 100 objects a minute: 4.32 million objects.
        ({"S3, a million PUT requests": 1.0}, 100, 5, 4.32),
        ({"S3, a million GET or HEAD requests": 1.0}, 100, 5, 8.64),
        # 15 idle requests a minute, 1.2 requests an object.
        ({"SQS, a million requests": 1.0}, 100, 5, 1.2 * 4.32 + 0.648),
        # A load every 60 + 60 s, and one every minute of a full batch.
        ({"Lambda, a million requests": 1.0}, 1, 60, DAY / 2 / 1e6),
        ({"Lambda, a million requests": 1.0}, 100, 300, DAY / 1e6),
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
    assert (always.active, always.total) == (1, 720)
    # A load each 360 s, and 302.5 s until the service idles again.
    sometimes = month(1, 300, Inputs(), price)
    assert sometimes.active == pytest.approx(302.5 / 360)
    half = month(100, 5, replace(Inputs(), hours_a_day=12), price)
    assert (half.active, half.total) == (0.5, 360)
    assert month(0, 5, Inputs(), price).total == 0


def test_more_load_takes_more_units():
    units = [month(rate, 5, Inputs(), PRICES).units for rate in (1, 100, 10_000, 100_000)]
    assert units == sorted(units) and units[0] == 1 and units[3] > units[2]
