"""Claims on the tables of the models, so that dbt and an erasure do not change one at a time
(macros/ledger_incremental/claim.sql has the rules, decision 0021 the reasons)."""

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from loader.clickhouse.warehouse import Warehouse
from loader.errors import RetryableError
from loader.settings import Settings

# As dbt's variables lock_expires_seconds and lock_wait_seconds.
EXPIRES = 60
LONGEST_WAIT = 600

# Seconds after which a statement shows again that the run is alive.
BEAT = 2

LATEST = """
select number, comment, silent
from (
    select
        toUInt64OrZero(extract(name, '[0-9]+$')) as number,
        comment,
        toUnixTimestamp(now()) - toUnixTimestamp(metadata_modification_time) as silent
    from system.tables
    where database = {database:String} and match(name, concat('^', {prefix:String}, '[0-9]+$'))
)
order by number desc
limit 1
"""
RECORDED = """
select max(claim) as number from {database:Identifier}.elt_tables where model = {model:String}
"""
NAMES = """
select name from system.tables
where database = {database:String} and match(name, concat('^', {prefix:String}, '[0-9]+$'))
"""
RUNNING = """
select count() as queries from $processes
where position(query, concat('xapi_elt run ', {run:String})) > 0
"""
CREATE = """
create table if not exists {database:Identifier}.{name:Identifier} $on_cluster
(slice UInt32, load_id UUID, committed_at DateTime64(3, 'UTC'), lines UInt64)
engine = Memory
comment '$holder'
"""
DROP = "drop table if exists {database:Identifier}.{name:Identifier} $on_cluster"
COMMENT = "alter table {database:Identifier}.{name:Identifier} $on_cluster modify comment '$holder'"

# The state of a table goes on with another number of rows: 0 while some are being removed.
RECORD = """
insert into {database:Identifier}.elt_tables
    (
        model, table_id, applied_under, identity_rule, parse, table_rows, horizon,
        loads_before_horizon, claim, version, run_id
    )
select
    model, table_id, applied_under, identity_rule, parse,
    if({count:Bool}, (select count() from {database:Identifier}.{model:Identifier}), 0),
    if({compare_all:Bool}, toDate('1970-01-01'), horizon),
    if({compare_all:Bool}, 0, loads_before_horizon),
    {claim:UInt64}, {claim:UInt64} * 1000000 + {step:UInt64},
    {run:String}
from {database:Identifier}.elt_tables
where model = {model:String}
    and toString(table_id) = (
        select extract(comment, '\\\\[table ([0-9a-f-]+)\\\\]') from system.tables
        where database = {database:String} and name = {model:String}
    )
    and (select count() >= 0 from {database:Identifier}.{claim_name:Identifier})
order by version desc
limit 1
"""


@dataclass
class Claim:
    """A table that this run alone may change.

    Attributes:
        model: the table.
        number: number of the claim.
        step: bookkeeping rows written under it.
        compare_all: whether dbt has to compare all loads with the table, not only the latest.
        beat_at: when the run last showed that it is alive.
        is_lost: whether another run took the table over.
    """

    model: str
    number: int
    step: int = 0
    compare_all: bool = False
    beat_at: float = 0
    is_lost: bool = False

    @property
    def name(self) -> str:
        """The table that is the claim."""
        return f"elt_claim__{self.model}__{self.number}"


class Claims:
    """Claims tables for one run, whose statements carry `comment`.

    Args:
        warehouse: has the tables.
        settings: which kind of ClickHouse this is.
        run: the id of the run.
    """

    def __init__(self, warehouse: Warehouse, settings: Settings, run: str):
        self._warehouse = warehouse
        self._settings = settings
        self.run = f"erase-{run}"
        self.comment = f"{run_comment(run)} "
        self._held: list[Claim] = []

    @contextmanager
    def hold(self, model: str) -> Iterator[Claim]:
        """Hold the claim of a table meanwhile.

        Raises:
            RetryableError: another run is still changing it after ten minutes.
        """
        started = time.monotonic()
        claim = self._acquire(model)
        claim.beat_at = started
        self._held.append(claim)
        try:
            yield claim
        finally:
            self._held.remove(claim)
            if not claim.is_lost:
                self._sql(COMMENT, holder="free", name=claim.name)

    def command(self, statement: str, **values: Any) -> None:
        """Run a statement that changes what is claimed, if it still is.

        Args:
            statement: with `$on_cluster`, if it is DDL.
            values: its parameters, by name.

        Raises:
            RetryableError: another run took a table over.
        """
        for claim in self._held:
            self._beat(claim)
        self._sql(statement, **values)

    def _beat(self, claim: Claim) -> None:
        """Show that this run is alive, unless it has just done so."""
        if time.monotonic() - claim.beat_at < BEAT:
            return
        if self._latest(claim.model)[0] != claim.number:
            claim.is_lost = True
            raise RetryableError(
                f"{self._settings.database}.{claim.model} was taken over by another run, because "
                "this one was away too long; what was erased so far stays erased. Run the same "
                "command again"
            )
        claim.beat_at = time.monotonic()
        self._sql(COMMENT, holder=f"{self.run} {claim.model}", name=claim.name)

    def record(self, claim: Claim, count: bool) -> None:
        """Record how many rows a claimed table has, so that dbt does not miss those that leave.

        Args:
            claim: the claim.
            count: count them; before some are removed, it is 0.
        """
        claim.step += 1
        self.command(
            RECORD,
            model=claim.model,
            claim=claim.number,
            claim_name=claim.name,
            step=claim.step,
            count=int(count),
            compare_all=int(claim.compare_all),
            run=self.run,
        )

    def _acquire(self, model: str) -> Claim:
        started = time.monotonic()
        while True:
            number, holder, silent = self._latest(model)
            is_stale = holder not in ("", "free") and self._is_stale(holder, silent)
            if holder in ("", "free") or is_stale:
                claim = Claim(model, number + 1)
                self._sql(CREATE, holder=f"{self.run} {model}", name=claim.name)
                if self._latest(model)[:2] == (claim.number, f"{self.run} {model}"):
                    self._fence(claim, holder.split(" ")[0] if is_stale else "")
                    return claim
            if time.monotonic() - started > LONGEST_WAIT:
                raise RetryableError(
                    f"{self._settings.database}.{model} is being changed by run {holder}; what was "
                    "erased so far stays erased. Run the same command again when it is done"
                )
            time.sleep(1)

    def _latest(self, model: str) -> tuple[int, str, int]:
        """Number, holder and seconds of silence of the claim with the highest number."""
        rows = self._query(LATEST, prefix=_prefix("claim", model))
        if rows:
            return rows[0]["number"], rows[0]["comment"], rows[0]["silent"]
        return self._query(RECORDED, model=model)[0]["number"], "", 0

    def _is_stale(self, holder: str, silent: int) -> bool:
        """Whether the holder is gone. An embedded database has one process, which is this one."""
        if self._settings.target == "embedded":
            return True
        return silent > EXPIRES and not self._runs_a_query(holder.split(" ")[0])

    def _runs_a_query(self, run: str) -> bool:
        cluster = self._settings.target == "cluster"
        processes = (
            "clusterAllReplicas(`$cluster`, system.processes)" if cluster else "system.processes"
        )
        sql = RUNNING.replace("$processes", processes).replace("$cluster", self._settings.cluster)
        return self._query(sql, run=run)[0]["queries"] > 0

    def _fence(self, claim: Claim, former: str) -> None:
        """Let nothing that a former holder sends have an effect, and drop what it left."""
        for row in self._query(NAMES, prefix=_prefix("claim", claim.model)):
            if row["name"] != claim.name:
                self._sql(DROP, name=row["name"])
        started = time.monotonic()
        while former and self._runs_a_query(former):
            if time.monotonic() - started > LONGEST_WAIT:
                raise RetryableError(
                    f"statements of run {former} are still running; run the same command again"
                )
            time.sleep(1)
        for row in self._query(NAMES, prefix=_prefix("new", claim.model)):
            self._sql(DROP, name=row["name"])

    def _query(self, sql: str, **values: Any) -> list[dict[str, Any]]:
        return self._warehouse.query(self.comment + sql, **values)

    def _sql(self, sql: str, holder: str = "", **values: Any) -> None:
        self._warehouse.command(
            self.comment + on_cluster(sql.replace("$holder", holder), self._settings), **values
        )


def run_comment(run: str) -> str:
    """The comment at the start of each statement of a run, by which others see that it is working.

    Args:
        run: the id of the run.
    """
    return f"/* xapi_elt run erase-{run} */"


def on_cluster(sql: str, settings: Settings) -> str:
    """The statement for a cluster, or without one.

    Args:
        sql: has `$on_cluster`.
        settings: which kind of ClickHouse this is.
    """
    clause = f"on cluster `{settings.cluster}`" if settings.target == "cluster" else ""
    return sql.replace("$on_cluster", clause)


def _prefix(kind: str, model: str) -> str:
    return f"elt_{kind}__{model}__"
