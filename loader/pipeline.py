"""The Python interface: the same operations as the command line, and queries.

with Pipeline.from_env() as pipeline:
    plan = pipeline.plan("s3://lake/section/", section_ids=[2161], start_date="2025-09-01")
    pipeline.backfill(plan)
    events = pipeline.query_df("select verb, count() as n from video_events group by verb")
    falls = pipeline.question("drop-off", section=2161)
"""

import time
from collections.abc import Callable, Iterable, Mapping
from datetime import date
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from loader import questions
from loader.aws.client import s3_client
from loader.aws.password import with_password
from loader.bulk.backfill import Plan, Throttle
from loader.bulk.backfill import plan as make_plan
from loader.bulk.backfill import run as run_plan
from loader.bulk.listing import Inventory, Listing
from loader.bulk.reconcile import Reconciliation
from loader.bulk.reconcile import reconcile as compare
from loader.bulk.selection import select
from loader.clickhouse import schema
from loader.clickhouse.connect import open_warehouse
from loader.clickhouse.reader import Reader, open_reader
from loader.clickhouse.warehouse import Warehouse
from loader.errors import SettingsError
from loader.files import local_objects
from loader.gc import SAFE_AGE, Garbage, collect
from loader.load import load as load_objects
from loader.objects import S3Object, check_bucket, check_prefix
from loader.outcomes import Summary
from loader.settings import POLICIES, Settings
from loader.status import Status
from loader.status import status as read_status

if TYPE_CHECKING:
    import pandas


class Pipeline:
    """Loads, checks and queries one ClickHouse. Close it, or use it in a `with`: only one process
    at a time can open an embedded database, and dbt is another process.

    Attributes:
        settings: which ClickHouse and which buckets.
    """

    def __init__(self, settings: Settings):
        self.settings = settings

    @classmethod
    def from_env(cls, env: Mapping[str, str] | None = None) -> Self:
        """Make a pipeline with the settings of the environment. It connects when first used.

        Args:
            env: the variables; those of the process if left out.

        Raises:
            SettingsError: the value of a variable is not accepted.
        """
        return cls(Settings.from_env(env))

    def __enter__(self) -> Self:
        """See `close`."""
        return self

    def __exit__(self, *_: object) -> None:
        """See `close`."""
        self.close()

    def close(self) -> None:
        """Close the connection to ClickHouse; the next call opens it again."""
        for name in ("reader", "warehouse"):
            if name in self.__dict__:
                self.__dict__.pop(name).close()

    @cached_property
    def warehouse(self) -> Warehouse:
        """The connection to ClickHouse; opened when first used.

        Raises:
            LoaderError: see `clickhouse.connect.open_warehouse`.
        """
        return open_warehouse(with_password(self.settings))

    @cached_property
    def reader(self) -> Reader:
        """A second connection, on which ClickHouse refuses every write; opened when first used.

        Raises:
            LoaderError: see `clickhouse.reader.open_reader`.
        """
        return open_reader(with_password(self.settings))

    def init(self) -> list[str]:
        """Create databases and tables that are missing (see `clickhouse.schema.init`)."""
        return schema.init(self.warehouse, self.settings)

    def status(self) -> Status:
        """What is loaded, what is waiting for dbt, what was rejected and what failed."""
        return read_status(self.warehouse, self.settings)

    def load(
        self,
        *targets: str | Path,
        policy: str = "append",
        force: bool = False,
        on_progress: Callable[[Summary], None] = lambda _: None,
    ) -> Summary:
        """Load objects and local files, each exactly once.

        Args:
            targets: s3://bucket/key, or .jsonl(.gz) files and folders of them.
            policy: what another version of a loaded key means: append, replace or ignore.
            force: load also objects that the ledger has; the new lines replace the old ones.
            on_progress: called with the summary after each batch.

        Returns:
            The outcomes of all objects; those that failed are in `failed`.

        Raises:
            SettingsError: a target or the policy is wrong, or a bucket or key is not allowed;
                nothing was changed.
            LoaderError: ClickHouse does not respond.
        """
        _check_policy(policy)
        names = [str(target) for target in targets]
        remote = [S3Object.from_uri(name) for name in names if name.startswith("s3://")]
        for item in remote:
            check_bucket(item.bucket, self.settings.allowed_buckets)
            check_prefix(item.key, self.settings.key_prefix)
        paths = [Path(name) for name in names if not name.startswith("s3://")]
        local = [item for path in paths for item in local_objects(path)]
        self.init()
        summary, started = Summary(requested=len(remote) + len(local)), time.monotonic()
        for items, mode in ((remote, "load"), (local, "file")):
            if not items:
                continue
            for outcomes in load_objects(
                self.warehouse, self.settings, items, mode=mode, policy=policy, force=force
            ):
                summary.add(outcomes)
                summary.seconds = time.monotonic() - started
                on_progress(summary)
        return summary

    def plan(
        self,
        uri: str,
        *,
        section_ids: Iterable[int | str] = (),
        start_date: str | date | None = None,
        end_date: str | date | None = None,
        inventory: str | None = None,
        policy: str = "append",
        force: bool = False,
        in_flight: int | None = None,
        on_progress: Callable[[Plan], None] = lambda _: None,
    ) -> Plan:
        """Plan a bulk load: which objects it loads, their bytes, requests and seconds. Changes
        nothing.

        Args:
            uri: s3://bucket/prefix.
            section_ids: course sections; none for all.
            start_date: first UTC day, by the time in the key, else by the last change.
            end_date: last UTC day, inclusive.
            inventory: s3://…/manifest.json of an S3 Inventory (CSV) to read instead of listing.
            policy: what another version of a loaded key means: append, replace or ignore.
            force: plan also objects that the ledger has; the new lines replace the old ones.
            in_flight: number of concurrent INSERTs; depends on the target if left out.
            on_progress: called with the unfinished plan from time to time.

        Raises:
            SettingsError: an argument is wrong, or nothing is listed.
            LoaderError: S3 or ClickHouse refuses or does not respond.
        """
        _check_policy(policy)
        listing = self._listing(uri, section_ids, start_date, end_date, inventory)
        return make_plan(
            self.warehouse,
            self.settings,
            listing,
            policy=policy,
            force=force,
            in_flight=in_flight,
            on_progress=on_progress,
        )

    def backfill(
        self,
        plan: Plan,
        *,
        throttle: Throttle | None = None,
        on_progress: Callable[[Summary], None] = lambda _: None,
    ) -> Summary:
        """Load the objects of a plan. If it is interrupted, what it loaded remains; make a new plan
        for the rest.

        Args:
            plan: what to load.
            throttle: limits on speed and batches.
            on_progress: called with the summary after each batch.

        Returns:
            The outcomes; `stopped` says why the rest was not attempted.

        Raises:
            LoaderError: the tables cannot be created.
        """
        self.init()
        return run_plan(
            self.warehouse,
            self.settings,
            plan,
            throttle=throttle,
            on_progress=on_progress,
        )

    def reconcile(
        self,
        uri: str,
        *,
        section_ids: Iterable[int | str] = (),
        start_date: str | date | None = None,
        end_date: str | date | None = None,
        policy: str = "append",
        on_progress: Callable[[Reconciliation], None] = lambda _: None,
    ) -> Reconciliation:
        """Compare what S3 lists with the ledger, and the ledger with raw. Changes nothing.

        `backfill(reconciliation.to_load)` loads what is missing.

        Args:
            uri: s3://bucket/prefix.
            section_ids: course sections; none for all.
            start_date: first UTC day, by the time in the key, else by the last change.
            end_date: last UTC day, inclusive.
            policy: policy of the plan `to_load`.
            on_progress: called with the unfinished comparison from time to time.

        Raises:
            SettingsError: an argument is wrong, or nothing is listed.
            LoaderError: S3 or ClickHouse refuses or does not respond.
        """
        _check_policy(policy)
        listing = self._listing(uri, section_ids, start_date, end_date)
        return compare(
            self.warehouse, self.settings, listing, policy=policy, on_progress=on_progress
        )

    def gc(
        self, *, age: int = SAFE_AGE, even_running: bool = False, dry_run: bool = False
    ) -> Garbage:
        """Remove lines that were never committed (see `loader.gc.collect`).

        Args:
            age: seconds since a load wrote its last line; younger loads may still be running.
            even_running: accept an age at which a load may still be running.
            dry_run: only count.

        Raises:
            SettingsError: a load of that age may still be running.
            LoaderError: ClickHouse refuses, or the raw tables are missing.
        """
        return collect(self.warehouse, age=age, even_running=even_running, dry_run=dry_run)

    def query_df(
        self, sql: str, params: Mapping[str, Any] | None = None, **values: Any
    ) -> "pandas.DataFrame":
        """Run a select, read-only, and return a pandas DataFrame; times are UTC.

        Args:
            sql: a select. Names without a database are tables of the models. It uses values as
                {name:Type}, e.g. {section:UInt64}, and the databases as {database:Identifier} and
                {raw:Identifier}.
            params: those values; they are sent as server-side parameters.
            values: the same, as keyword arguments.

        Raises:
            SettingsError: pandas is not installed.
            LoaderError: ClickHouse refuses or does not respond.
        """
        if not find_spec("pandas"):
            raise SettingsError("pandas is not installed: pip install pandas")
        return self.reader.query_df(sql, **(dict(params or {}) | values))

    def question(self, name: str, **params: Any) -> "pandas.DataFrame":
        """Answer a named question (see `loader.questions`) with a pandas DataFrame.

        Args:
            name: its name, e.g. drop-off; `xapi-elt query --list` shows all.
            params: its parameters, e.g. section=2161.

        Raises:
            SettingsError: there is no such question, or a parameter is unknown or missing.
            LoaderError: ClickHouse refuses or does not respond.
        """
        question = questions.find(name)
        return self.query_df(question.sql, question.values(params))

    def _listing(
        self,
        uri: str,
        section_ids: Iterable[int | str],
        start_date: str | date | None,
        end_date: str | date | None,
        inventory: str | None = None,
    ) -> Listing:
        selection = select(uri, section_ids, start_date, end_date)
        check_bucket(selection.bucket, self.settings.allowed_buckets)
        check_prefix(selection.prefix, self.settings.key_prefix)
        client = s3_client(self.settings)
        return Inventory(client, selection, inventory) if inventory else Listing(client, selection)


def _check_policy(policy: str) -> None:
    if policy not in POLICIES:
        raise SettingsError(f"policy is {policy!r}; accepted: {', '.join(POLICIES)}")
