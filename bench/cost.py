"""What a month of the pipeline costs, by the rate of objects and the batch window: docs/cost.md.

    python -m bench.cost                                     the tables of docs/cost.md
    python -m bench.cost --prices mine.json --set hours_a_day=10 --set units=2

It counts requests and seconds from inputs that are printed with the tables; nothing is measured.
"""

import sys
from dataclasses import asdict, dataclass, field, fields, replace
from typing import Any, TextIO

import click

from bench.prices import number, prices_with

RATES = (1, 100, 10_000)
WINDOWS = (5, 60, 300)

DAYS, HOUR, GB, TB = 30, 3600, 1e9, 1e12

# The longest window of the function and of a permanent worker, in seconds. A longer one is the
# schedule of a task, `xapi-elt worker --once --transform`.
LONGEST_WINDOW = 60

# Alarms and metrics of the stacks; requests of an idle event source mapping (five pollers that each
# wait 20 s), and of a task that finds the queue empty; bytes that are logged for an object and for
# a load.
ALARMS, METRICS, IDLE_POLLS_A_MINUTE, POLLS_A_TASK, LOG_OBJECT, LOG_LOAD = 8, 9, 15, 2, 350, 900


@dataclass(frozen=True)
class Inputs:
    """What the calculation starts from.

    Attributes:
        statements: statements in an object.
        bytes_in_s3: bytes of a statement in S3.
        bytes_in_clickhouse: bytes of a statement in ClickHouse: raw line, store and event together.
        months_kept: months for which both are kept; the sums are for the last one.
        hours_a_day: hours a day in which objects arrive. Besides loads and dbt, nothing queries
            ClickHouse.
        batch: largest number of objects of an invocation.
        memory_gb: memory of the function.
        seconds_a_load: seconds that a load takes in ClickHouse, whatever its size.
        seconds_an_object: seconds that it takes longer for each object.
        dbt_minutes: minutes between two runs of dbt, by day and night.
        seconds_a_dbt_run: seconds of a run of dbt in ClickHouse.
        seconds_a_task: seconds of a task of Fargate that runs dbt, its start included.
        task_vcpus: vCPUs of the task.
        task_gb: memory of the task.
        statements_a_second: statements that dbt transforms in a second and unit.
        idle_minutes: minutes without a query after which the service idles.
        units: compute units of ClickHouse, at least; more are added for the load.
    """

    statements: float = 20
    bytes_in_s3: float = 1_200
    bytes_in_clickhouse: float = 310
    months_kept: float = 12
    hours_a_day: float = 24
    batch: float = 100
    memory_gb: float = 0.25
    seconds_a_load: float = 0.5
    seconds_an_object: float = 0.002
    dbt_minutes: float = 10
    seconds_a_dbt_run: float = 2
    seconds_a_task: float = 90
    task_vcpus: float = 1
    task_gb: float = 2
    statements_a_second: float = 100_000
    idle_minutes: float = 5
    units: float = 2


@dataclass(frozen=True)
class Month:
    """The costs of a month.

    Attributes:
        rate: objects a minute.
        window: seconds for which a load waits for more objects.
        statements: millions of statements.
        aws: dollars by item.
        clickhouse: dollars by item.
        active: the share of the month in which ClickHouse is not idle.
        units: compute units of ClickHouse.
    """

    rate: float
    window: float
    statements: float
    aws: dict[str, float] = field(default_factory=dict)
    clickhouse: dict[str, float] = field(default_factory=dict)
    active: float = 0
    units: float = 0

    @property
    def total(self) -> float:
        """All of it."""
        return sum(self.aws.values()) + sum(self.clickhouse.values())


def month(rate: float, window: float, given: Inputs, prices: dict[str, Any]) -> Month:
    """Calculate a month of 30 days.

    Args:
        rate: objects a minute while objects arrive; 0 for a month without any.
        window: seconds for which a load waits for more objects. If it is longer than the function
            allows, a task loads and runs dbt each time that many seconds have passed.
        given: the other inputs.
        prices: prices, named as in bench/prices.py.
    """
    is_task = window > LONGEST_WINDOW
    minutes, whole = given.hours_a_day * 60 * DAYS, DAYS * 24 * HOUR
    objects, a_second = rate * minutes, rate / 60
    statements = objects * given.statements
    # The function's window begins with the first object. A full batch does not wait for its end.
    pause = window if is_task else window + (1 / a_second if rate else 0)
    loads_a_second = max(1 / pause, a_second / given.batch) if rate else 0
    loads = loads_a_second * minutes * 60
    seconds = loads * given.seconds_a_load + objects * given.seconds_an_object
    runs_a_second = 1 / (window if is_task else given.dbt_minutes * 60)
    runs = runs_a_second * whole
    task_hours = (runs * given.seconds_a_task + (seconds if is_task else 0)) / HOUR

    polls = runs * POLLS_A_TASK if is_task else whole / 60 * IDLE_POLLS_A_MINUTE
    logged = objects * LOG_OBJECT + loads * LOG_LOAD
    in_s3 = statements * given.months_kept * given.bytes_in_s3
    in_clickhouse = statements * given.months_kept * given.bytes_in_clickhouse
    by_lambda = loads / 1e6 * prices["Lambda, a million requests"]
    by_lambda += seconds * given.memory_gb * prices["Lambda, a GB-second"]
    aws = {
        "S3 requests": (
            objects * prices["S3, a million PUT requests"]
            + 2 * objects * prices["S3, a million GET or HEAD requests"]
        )
        / 1e6,
        "S3 storage": in_s3 / GB * prices["S3, a GB and month"],
        # Sent one by one; received and deleted by ten.
        "SQS": (1.2 * objects + polls) / 1e6 * prices["SQS, a million requests"],
        "Lambda": 0 if is_task else by_lambda,
        "Fargate": task_hours
        * (
            given.task_vcpus * prices["Fargate, a vCPU and hour"]
            + given.task_gb * prices["Fargate, a GB and hour"]
        ),
        "logs, metrics, alarms, secret": logged / GB * prices["CloudWatch, a GB of logs"]
        + METRICS * prices["CloudWatch, a metric and month"]
        + ALARMS * prices["CloudWatch, an alarm and month"]
        + prices["Secrets Manager, a secret and month"],
    }

    busy = loads_a_second * given.seconds_a_load + a_second * given.seconds_an_object
    busy += runs_a_second * given.seconds_a_dbt_run
    busy += a_second * given.statements / given.statements_a_second
    units = max(given.units, -(-busy // 1))
    active = _active(loads_a_second, runs_a_second, is_task, given)
    clickhouse = {
        "compute": active * DAYS * 24 * units * prices["ClickHouse, a compute unit and hour"],
        "storage": in_clickhouse / TB * prices["ClickHouse, a TB and month"],
    }
    return Month(rate, window, statements / 1e6, aws, clickhouse, active, units)


def _active(loads_a_second: float, runs_a_second: float, is_task: bool, given: Inputs) -> float:
    """The share of the month in which ClickHouse is awake: after a load, and after dbt's query."""
    idle = given.idle_minutes * 60
    # A task loads and runs dbt at once.
    load, day = given.seconds_a_load, given.hours_a_day / 24
    by_dbt = (idle + given.seconds_a_dbt_run + (load if is_task else 0)) * runs_a_second
    by_loads = 0 if is_task else (idle + load) * loads_a_second
    asleep = (1 - min(1, by_dbt)) * (1 - day * min(1, by_loads))
    return 1 - asleep


def tables(given: Inputs, prices: dict[str, Any]) -> str:
    """The tables of docs/cost.md."""
    months = [month(rate, window, given, prices) for rate in RATES for window in WINDOWS]
    names = ["objects a minute", "window", "million statements a month", "AWS", "ClickHouse"]
    lines = _head([*names, "active", "units", "a million statements"])
    for one in months:
        cells = [f"{one.rate:,}", f"{one.window} s", f"{one.statements:,.2f}"]
        cells += [dollars(sum(one.aws.values())), dollars(sum(one.clickhouse.values()))]
        cells += [f"{one.active:.0%}", f"{one.units:.0f}", dollars(one.total / one.statements)]
        lines.append(f"| {' | '.join(cells)} |")
    idle, rare = _total(0, 5, given, prices), _total(1, 1800, given, prices)
    hourly = _total(0, 5, replace(given, dbt_minutes=60), prices)
    lines += [
        "",
        f"A month in which nothing arrives costs {idle} without what is stored, because dbt's "
        f"schedule ({given.dbt_minutes:g} minutes) wakes ClickHouse; with a run of dbt every hour, "
        f"{hourly}. One object a minute costs {rare} if a task loads and transforms every half an "
        "hour.",
        "",
    ]
    parts = [*months[0].aws, *(f"ClickHouse {name}" for name in months[0].clickhouse)]
    lines += _head(["objects a minute", "window", *parts])
    for one in months:
        cells = [f"{one.rate:,}", f"{one.window} s"]
        cells += map(dollars, [*one.aws.values(), *one.clickhouse.values()])
        lines.append(f"| {' | '.join(cells)} |")
    lines += ["", "| input | value |", "|---|--:|"]
    named = {name: value for name, value in prices.items() if not isinstance(value, str)}
    lines += [f"| {name.replace('_', ' ')} | {value:,g} |" for name, value in asdict(given).items()]
    lines += [f"| {name} | ${value:,.10g} |" for name, value in named.items()]
    return "\n".join(lines)


def _total(rate: float, window: float, given: Inputs, prices: dict[str, Any]) -> str:
    """What a month costs."""
    return dollars(month(rate, window, given, prices).total)


def _head(names: list[str]) -> list[str]:
    """The first two lines of a table of numbers."""
    return [f"| {' | '.join(names)} |", f"|{'--:|' * len(names)}"]


def dollars(value: float) -> str:
    """An amount, with cents where they matter."""
    return f"${value:,.0f}" if value >= 100 else f"${value:,.2f}"


@click.command()
@click.option("--prices", type=click.File(), help="JSON file with other prices (bench/prices.py).")
@click.option("--set", "changes", multiple=True, metavar="NAME=NUMBER", help="Change an input.")
def main(prices: TextIO | None, changes: tuple[str, ...]) -> None:
    """Print what a month costs."""
    given, known = Inputs(), {one.name for one in fields(Inputs)}
    for change in changes:
        name, _, value = change.partition("=")
        if name not in known:
            raise click.BadParameter(f"{change!r}; accepted: {', '.join(sorted(known))} = a number")
        given = replace(given, **{name: number(name, value)})
    if given.hours_a_day > 24:
        raise click.BadParameter(f"hours_a_day is {given.hours_a_day:g}; accepted: up to 24")
    click.echo(tables(given, prices_with(prices)))


if __name__ == "__main__":
    sys.exit(main())
