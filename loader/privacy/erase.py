"""Erase a learner: tombstone, raw lines, tables, ledger texts, disk; then verify.

Each step can be repeated, and what a step has found is kept until all are done. So a run that was
killed is completed by the next one, also by one for another learner or for none.
"""

import json
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from loader.clickhouse.schema import is_there
from loader.clickhouse.warehouse import Warehouse
from loader.privacy import sql
from loader.privacy.claims import Claims
from loader.privacy.disk import purge, wait_for_mutations
from loader.privacy.search import Found, Search
from loader.privacy.tables import ERASED_ID, Tables
from loader.settings import Settings

# Lines in one insert of places.
MOST_ROWS = 10_000

WORK = ("erasure_learners", "erasure_lines")
FORGET_WORK = "truncate table {raw:Identifier}.{table:Identifier} $on_cluster"
WRITE_RECEIPT = """
insert into {raw:Identifier}.erasures (request_id, started_at, receipt)
values (
    {request:UUID},
    parseDateTime64BestEffort({started_at:String}, 3, 'UTC'),
    {receipt:String}
)
"""


class Erasure:
    """One run of `xapi-elt erase`.

    Args:
        warehouse: has the databases.
        settings: which ones.
        search: the learner, or all that have a tombstone.
        on_step: called with what is being done.
    """

    def __init__(
        self,
        warehouse: Warehouse,
        settings: Settings,
        search: Search,
        on_step: Callable[[str], None] = lambda _: None,
    ):
        self._warehouse = warehouse
        self._settings = settings
        self._search = search
        self._on_step = on_step
        self._claims = Claims(warehouse, settings, search.request)
        self._started = datetime.now(UTC)

    def write_tombstones(self, reason: str) -> None:
        """Keep the learner out from now on."""
        self._search.command(sql.WRITE_TOMBSTONES, reason=reason)

    def run(
        self, also_unparsed: bool = False, after_raw: Callable[[], dict[str, Any]] = dict
    ) -> dict[str, Any]:
        """Erase everybody who has a tombstone.

        Args:
            also_unparsed: also lines that could not be parsed and contain the identifier.
            after_raw: called when the raw lines are overwritten; its result joins the receipt.

        Returns:
            The receipt: counts, no names.

        Raises:
            LoaderError: ClickHouse refuses, or a table is being changed; run it again.
        """
        erased_id = self._erased_id()
        # One erasure at a time: they share the work tables.
        with self._claims.hold("erasure"):
            return self._run(erased_id, also_unparsed, after_raw)

    def _run(
        self, erased_id: str, also_unparsed: bool, after_raw: Callable[[], dict[str, Any]]
    ) -> dict[str, Any]:
        wait_for_mutations(self._warehouse)
        looked_at = self._look(also_unparsed)
        self._on_step("overwriting raw lines")
        raw = self._overwrite_raw()
        more = after_raw()
        self._on_step("removing rows from the tables")
        tables = Tables(self._warehouse, self._settings, self._claims).erase(erased_id)
        self._on_step("overwriting error texts")
        errors = self._overwrite_errors()
        # From here on another run has nothing to find but what it purges, too.
        for table in WORK:
            self._claims.command(FORGET_WORK, table=table)
        parts = purge(self._warehouse, self._settings, self._on_step)
        self._on_step("verifying")
        left = self._search.find()
        receipt = {
            "request_id": self._search.request,
            "started_at": _text(self._started),
            "finished_at": _text(datetime.now(UTC)),
            "lines_overwritten": raw,
            "rows_removed": tables,
            "error_texts_overwritten": errors,
            "unparsed_lines_that_name_the_learner": 0 if also_unparsed else looked_at["unparsed"],
            "unparsed_lines_erased": looked_at["unparsed"] if also_unparsed else 0,
            "statements_of_others_that_name_the_learner": looked_at["named"],
            "broken_parts_not_touched": parts,
            "left": _summary(left),
            "is_complete": left.is_clean,
            **more,
        }
        self._warehouse.command(
            WRITE_RECEIPT,
            request=self._search.request,
            started_at=_text(self._started),
            receipt=json.dumps(receipt),
        )
        return receipt

    def _look(self, also_unparsed: bool) -> dict[str, int]:
        """Find everything before anything is changed, and keep it until all is done."""
        self._on_step("searching the tables")
        unparsed, named = self._search.texts() if self._search.forms else ([], [])
        self._search.use_tombstones()
        rows = [{"learner_id": one} for one in self._search.learners()]
        self._insert(sql.KEEP_LEARNERS, rows)
        self._on_step("searching the raw lines")
        self._search.command(sql.KEEP_LINES)
        if also_unparsed:
            self._insert(sql.KEEP_TEXTS, [_work(place) for place in unparsed])
        self._search.command(sql.KEEP_LONG_LINES)
        if self._search.forms:
            self._search.command(sql.KEEP_ERRORS, token=self._search.token)
        return {"unparsed": len(unparsed), "named": len(named)}

    def _overwrite_raw(self) -> int:
        stub = self._warehouse.query(sql.STUB)[0]["stub"]
        [work] = self._warehouse.query(sql.COUNT_WORK, stub=stub)
        if work["lines"] > work["long_lines"]:
            self._claims.command(sql.OVERWRITE_LINES, stub=stub)
        if work["long_lines"]:
            self._claims.command(sql.OVERWRITE_LONG_LINES, stub=stub)
        return work["lines"]

    def _overwrite_errors(self) -> int:
        [work] = self._warehouse.query(sql.COUNT_WORK, stub="")
        if work["errors"]:
            self._claims.command(sql.OVERWRITE_ERRORS)
        return work["errors"]

    def _erased_id(self) -> str:
        """The event id of statements without content. The view that knows it needs a row."""
        row = {"request_id": self._search.request, "kind": "", "home_page": "", "user_id": ""}
        self._search.command(sql.ADD_REQUEST, data=json.dumps(row).encode())
        return self._warehouse.query(ERASED_ID)[0]["id"]

    def _insert(self, statement: str, rows: list[dict[str, Any]]) -> None:
        for at in range(0, len(rows), MOST_ROWS):
            data = "\n".join(map(json.dumps, rows[at : at + MOST_ROWS])).encode()
            self._warehouse.command(statement, data=data)


def overwrite_what_came_again(warehouse: Warehouse, settings: Settings) -> int:
    """Overwrite raw lines of erased learners that dbt has applied since the last erasure. They are
    in no table, because the staging view leaves them out.

    Args:
        warehouse: has the databases.
        settings: which ones.

    Returns:
        The lines.

    Raises:
        LoaderError: ClickHouse refuses, e.g. because the user lacks a right.
    """
    if not is_there(warehouse, settings.raw_database, "erased_learners"):
        return 0
    [last] = warehouse.query(f"{sql.LAST_SEARCH} having count() > 0")[:1] or [{"since": ""}]
    stub = warehouse.query(sql.STUB)[0]["stub"] if last["since"] else ""
    if (
        not stub
        or not warehouse.query(sql.CAME_AGAIN, since=last["since"], stub=stub)[0]["came_again"]
    ):
        return 0
    with Search(warehouse, settings, since=last["since"]) as search:
        return Erasure(warehouse, settings, search).run()["lines_overwritten"]


def _work(place: dict[str, Any]) -> dict[str, Any]:
    """An unparsed statement as work; the line gets its text with those of several statements."""
    names = ("load_id", "bucket", "key", "source_line")
    return {name: place[name] for name in names} | {
        "source_items": [place["source_item"]],
        "line": place["whole"],
    }


def _summary(found: Found) -> dict[str, Any]:
    return {
        "lines": found.lines,
        "rows": found.tables,
        "error_texts": found.errors,
    }


def _text(time: datetime) -> str:
    return time.isoformat(timespec="milliseconds")
