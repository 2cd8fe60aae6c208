"""Prices for the calculations of what the Lambda and a month of the pipeline cost."""

import json
import math
from typing import Any, TextIO

import click

# In US dollars, for us-east-1 in 2025; check them before you rely on a sum. For other
# prices: --prices FILE, with the same members.
PRICES: dict[str, Any] = {
    "source": "AWS prices as known, not looked up: Lambda (arm64), SQS and S3 standard, us-east-1",
    "date": "2025",
    "Lambda, a million requests": 0.20,
    "Lambda, a GB-second": 0.0000133334,
    "SQS, a million requests": 0.40,
    "S3, a million GET or HEAD requests": 0.40,
    "S3, a million PUT requests": 5.00,
    "S3, a GB and month": 0.023,
    "CloudWatch, a GB of logs": 0.50,
    "CloudWatch, an alarm and month": 0.10,
    "CloudWatch, a metric and month": 0.30,
    "Secrets Manager, a secret and month": 0.40,
    # Linux on x86, as lambda/transform.yaml has it.
    "Fargate, a vCPU and hour": 0.04048,
    "Fargate, a GB and hour": 0.004445,
    "ClickHouse source": "ClickHouse Cloud, billing overview, plan Scale, AWS us-east-1",
    # 8 GiB and 2 vCPU. The page has 436.95 for two of them in a month of 730 hours.
    "ClickHouse, a compute unit and hour": 0.2993,
    "ClickHouse, a TB and month": 25.30,
}


def prices_with(file: TextIO | None) -> dict[str, Any]:
    """The prices, those of a JSON file first.

    Args:
        file: an object with some of the members of `PRICES`; None for none.

    Raises:
        BadParameter: it has other members, or a price is no number.
    """
    try:
        given = json.load(file) if file else {}
    except ValueError as error:
        raise click.BadParameter(f"not JSON: {error}") from None
    if not isinstance(given, dict) or given.keys() - PRICES.keys():
        unknown = sorted(given.keys() - PRICES.keys()) if isinstance(given, dict) else [given]
        known = "; ".join(PRICES)
        raise click.BadParameter(f"{', '.join(map(repr, unknown))} is no price; known: {known}")
    for name, value in given.items():
        if isinstance(PRICES[name], float):
            given[name] = number(name, value, or_zero=True)
    return PRICES | given


def number(name: str, value: Any, or_zero: bool = False) -> float:
    """An input of a calculation.

    Args:
        name: its name in the error.
        value: the number, or its text.
        or_zero: whether it may be 0.

    Raises:
        BadParameter: it is no such number.
    """
    try:
        found = math.nan if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        found = math.nan
    if not math.isfinite(found) or found < 0 or (found == 0 and not or_zero):
        accepted = "a number from 0" if or_zero else "a number above 0"
        raise click.BadParameter(f"{name} is {value!r}; accepted: {accepted}")
    return found
