"""Check each part of the pipeline and say how to fix what is wrong: `xapi-elt doctor`."""

import importlib.util
import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

from loader.aws.password import with_password
from loader.clickhouse import safety
from loader.clickhouse.connect import open_warehouse
from loader.clickhouse.embedded import open_to_others
from loader.clickhouse.schema import TABLES, is_there
from loader.clickhouse.warehouse import Warehouse
from loader.errors import LoaderError, SettingsError
from loader.objects import S3Object
from loader.settings import Settings, complaints
from loader.sources import S3Source


@dataclass(frozen=True)
class Check:
    """The result of one check.

    Attributes:
        name: the part that was checked.
        verdict: ok, warn (it works, but should be changed) or fail.
        finding: what was found, and how to fix it.
    """

    name: str
    verdict: str
    finding: str


def run(env: dict[str, str] | None = None) -> list[Check]:
    """Check everything that can be checked from this machine, in the order in which it is needed.

    Args:
        env: the environment; that of the process if left out.
    """
    try:
        settings = Settings.from_env(env)
    except SettingsError as error:
        return [Check("settings", "fail", str(error))]
    where = f"target {settings.target} at {settings.place}, database {settings.database}"
    checks = [Check("settings", "ok", where)]
    checks += [Check("settings", "warn", one) for one in complaints(_environment(env))]
    checks += _files(settings)
    try:
        opened = open_warehouse(with_password(settings), wait=5, guarded=False)
        with closing(opened) as warehouse:
            checks += check_warehouse(warehouse, settings)
    except LoaderError as error:
        checks.append(Check("engine", "fail", str(error)))
    return checks + _guarded("dbt", lambda: _dbt(settings))


def _environment(env: dict[str, str] | None) -> Mapping[str, str]:
    return os.environ if env is None else env


def check_warehouse(warehouse: Warehouse, settings: Settings, s3: bool = True) -> list[Check]:
    """Check the engine, the raw tables and whether ClickHouse can read the buckets.

    Args:
        warehouse: an open ClickHouse, which may be unsafe.
        settings: names of databases, collection and buckets.
        s3: whether to check the buckets.
    """
    checks = _guarded("engine", lambda: _engine(warehouse, settings))
    checks += _guarded("tables", lambda: _tables(warehouse, settings))
    return checks + (_guarded("s3", lambda: _s3(warehouse, settings)) if s3 else [])


def _files(settings: Settings) -> Iterator[Check]:
    folder = Path(settings.chdb_path)
    if settings.target == "embedded" and folder.exists() and open_to_others(folder):
        yield Check(
            "files",
            "warn",
            f"other users can read or change {folder}, which holds personal data; opening it "
            "closes it to them if it belongs to this user, and is refused if it does not",
        )


def _guarded(name: str, check: Callable[[], Iterator[Check]]) -> list[Check]:
    try:
        return list(check())
    except LoaderError as error:
        return [Check(name, "fail", str(error))]


def _engine(warehouse: Warehouse, settings: Settings) -> Iterator[Check]:
    rows = safety.probe(warehouse)
    problems = list(safety.unsafe(rows, settings))
    for problem in problems:
        yield Check("engine", "fail", problem)
    if not problems:
        version = next(iter(rows.values()))["version"]
        yield Check("engine", "ok", f"ClickHouse {version}; its settings are safe to load with")
    for advice in safety.advice(rows):
        yield Check("engine", "warn", advice)


def _tables(warehouse: Warehouse, settings: Settings) -> Iterator[Check]:
    raw = settings.raw_database
    missing = [name for name in TABLES if not is_there(warehouse, raw, name)]
    if missing:
        names = ", ".join(f"{settings.raw_database}.{name}" for name in missing)
        yield Check("tables", "fail", f"missing: {names}; create them: xapi-elt init")
    else:
        yield Check("tables", "ok", f"{settings.raw_database}: {', '.join(TABLES)}")


def _s3(warehouse: Warehouse, settings: Settings) -> Iterator[Check]:
    if not settings.allowed_buckets:
        yield Check("s3", "warn", "no bucket may be loaded; set XAPI_ALLOWED_BUCKETS")
        return
    for bucket in settings.allowed_buckets:
        # If the bucket can be read, the response for a missing key is 'not found', else an error.
        missing = S3Object(bucket, f"{settings.key_prefix}xapi-elt-doctor.jsonl")
        S3Source(warehouse, settings).stat([missing])
        yield Check("s3", "ok", f"ClickHouse can read objects of {bucket} at {settings.s3_url}")


def _dbt(settings: Settings) -> Iterator[Check]:
    adapter = "chdb" if settings.target == "embedded" else "clickhouse"
    if importlib.util.find_spec("dbt") is None:
        yield Check("dbt", "fail", "dbt is not installed: make install")
    elif importlib.util.find_spec(f"dbt.adapters.{adapter}") is None:
        yield Check("dbt", "fail", f"dbt's adapter {adapter} is not installed: make install")
    else:
        project = settings.project()
        profiles = project / "profiles.yml"
        if profiles.is_file():
            yield Check("dbt", "ok", f"adapter {adapter}, project {project}, profile {profiles}")
        else:
            yield Check("dbt", "fail", f"there is no {profiles}; copy it from the repository")
