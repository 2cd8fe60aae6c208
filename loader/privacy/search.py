"""Find where learners are: raw lines and their objects, tables, texts that name them."""

import json
from collections.abc import Iterable
from contextlib import nullcontext, suppress
from dataclasses import asdict, dataclass, field
from typing import Any, Self
from uuid import uuid4

from loader.clickhouse.schema import is_there
from loader.clickhouse.warehouse import Warehouse
from loader.errors import LoaderError, PermanentError, SettingsError
from loader.privacy import sql
from loader.privacy.claims import run_comment
from loader.privacy.identity import Identity, member_pattern, texts, token_pattern
from loader.settings import Settings

# Pseudonyms in one statement: a parameter may have 128 KiB.
MOST_LEARNERS = 3000

# Lines with texts that name a learner which are listed; all of them are erased if requested.
MOST_TEXTS = 100_000

VIEWS = ("stg_xapi__learners_in_raw", "stg_xapi__erasure_requests")


@dataclass
class Found:
    """Where learners are.

    Attributes:
        objects: per object and status (visible, superseded, repeated, uncommitted): lines and
            statements.
        tables: rows by table.
        unparsed: lines without a learner that contain the identifier, for a person to decide.
        named: statements of others that name the learner, e.g. as an instructor.
        errors: error texts in the ledger that quote the identifier.
        interrupted: whether a run was interrupted and left work.
    """

    objects: list[dict[str, Any]] = field(default_factory=list)
    tables: dict[str, int] = field(default_factory=dict)
    unparsed: list[dict[str, Any]] = field(default_factory=list)
    named: list[dict[str, Any]] = field(default_factory=list)
    errors: int = 0
    interrupted: bool = False

    @property
    def lines(self) -> int:
        """Raw lines with statements of the learners."""
        return sum(row["lines"] for row in self.objects)

    @property
    def statements(self) -> int:
        """Statements of the learners in them."""
        return sum(row["statements"] for row in self.objects)

    @property
    def is_clean(self) -> bool:
        """Whether nothing of the learners is left."""
        return not (self.objects or self.tables or self.errors or self.interrupted)

    def as_dict(self) -> dict[str, Any]:
        """All of it, for JSON."""
        return asdict(self) | {"lines": self.lines, "statements": self.statements}


class Search:
    """Searches for one learner, or for all that have a tombstone.

    Args:
        warehouse: has the tables.
        settings: which database.
        forms: the identity; empty for all tombstones.
        since: search only raw lines that dbt has applied since this time.

    Raises:
        PermanentError: dbt has not built what this reads.
    """

    def __init__(
        self,
        warehouse: Warehouse,
        settings: Settings,
        forms: Iterable[Identity] = (),
        since: str = "",
    ):
        self._warehouse = warehouse
        self._since = since
        self._settings = settings
        self.forms = list(forms)
        self.request, self._candidates = str(uuid4()), str(uuid4())
        for view in VIEWS:
            if not is_there(warehouse, settings.database, view):
                raise PermanentError(
                    f"{settings.database}.{view} is missing: run xapi-elt init and dbt run once, "
                    "then the same command again. Nothing was done"
                )
        self._wanted = sql.OF_REQUEST if self.forms else sql.ALL_TOMBSTONES
        rows = [asdict(form) | {"request_id": self.request} for form in self.forms]
        if rows:
            warehouse.command(sql.ADD_REQUEST, data="\n".join(map(json.dumps, rows)).encode())

    def use_tombstones(self) -> None:
        """From now on search for all that have a tombstone."""
        self._wanted = sql.ALL_TOMBSTONES

    def query(self, statement: str, **values: Any) -> list[dict[str, Any]]:
        """Run a select of `sql` for the wanted learners."""
        return self._warehouse.query(self._text(statement), **self._values(values))

    def command(self, statement: str, data: bytes | None = None, **values: Any) -> None:
        """Run another statement of `sql` for the wanted learners."""
        self._warehouse.command(self._text(statement), data, **self._values(values))

    def _text(self, statement: str) -> str:
        scope = sql.RECENT if self._since else "true"
        text = statement.replace("$wanted", self._wanted).replace("$scope", scope)
        # So that other runs see that this one is working (see `claims`).
        return f"{run_comment(self.request)} {text}"

    def _values(self, values: dict[str, Any]) -> dict[str, Any]:
        return values | {"request": self.request, "since": self._since}

    def find(self) -> Found:
        """Search everywhere. Changes nothing."""
        found = Found(objects=self.query(sql.OBJECTS))
        learners = self.learners()
        for row in self._warehouse.query(sql.TABLES):
            rows = 0
            for at in range(0, len(learners), MOST_LEARNERS):
                some = learners[at : at + MOST_LEARNERS]
                [counted] = self.query(sql.ROWS_OF_LEARNERS, table=row["name"], learners=some)
                rows += counted["rows"]
            if row["has_names"]:
                named = {"table": row["name"], "candidates": self._candidates}
                rows += self.query(sql.ROWS_OF_NAMES, **named)[0]["rows"]
            if rows:
                found.tables[row["name"]] = rows
        found.interrupted = bool(self._warehouse.query(sql.LEARNERS_LEFT))
        if self.forms:
            found.unparsed, found.named = self.texts()
            found.errors = self.query(sql.ERRORS, token=self.token)[0]["rows"]
        return found

    def learners(self) -> list[str]:
        """The pseudonyms of the wanted learners in the tables, whichever key made them."""
        named = [row["name"] for row in self._warehouse.query(sql.TABLES) if row["has_names"]]
        found = {row["learner_id"] for row in self.query(sql.REQUESTED)}
        found |= {row["learner_id"] for row in self._warehouse.query(sql.LEARNERS_LEFT)}
        for table in named:
            self.command(sql.ADD_CANDIDATES, candidates=self._candidates, table=table)
        for table in named:
            rows = self.query(sql.LEARNERS_OF_TABLE, candidates=self._candidates, table=table)
            found |= {row["learner_id"] for row in rows}
        return sorted(found)

    @property
    def token(self) -> str:
        """The pattern of the identifiers in any text."""
        return token_pattern(texts(self.forms))

    def texts(self) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
        """Where texts name the learner: lines that could not be parsed, statements of others."""
        values = texts(self.forms)
        pages = [form.home_page for form in self.forms]
        pages += [page.replace("/", "\\/") for page in pages]
        rows = self.query(
            sql.TEXTS,
            texts=values,
            token=token_pattern(values),
            member=member_pattern(values),
            pages=list(dict.fromkeys(pages)),
            most=MOST_TEXTS,
        )
        unparsed = [row for row in rows if row.pop("is_unparsed")]
        return unparsed, [row for row in rows if row not in unparsed]

    def close(self) -> None:
        """Forget the identities, which are in memory until then."""
        self.command(sql.FORGET_REQUESTS, candidates=self._candidates)

    def __enter__(self) -> Self:
        """See `close`."""
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        """Close; an error of the search is the one to report."""
        with suppress(LoaderError) if kind else nullcontext():
            self.close()


def forms_of_pseudonym(warehouse: Warehouse, settings: Settings, learner_id: str) -> list[Identity]:
    """The identity behind a pseudonym.

    Args:
        warehouse: has the tables.
        settings: which database.
        learner_id: the pseudonym.

    Raises:
        SettingsError: no statement has it.
    """
    rows = warehouse.query(sql.WHO_IS_IN_RAW, learner=learner_id)
    if not rows and is_there(warehouse, settings.database, "int_xapi__statements"):
        kinds = ("account", "mbox", "mbox_sha1sum", "openid")
        rows = [
            row | {"kind": kind}
            for row in warehouse.query(sql.WHO_IS, learner=learner_id)
            for kind in kinds
        ]
    if not rows:
        raise SettingsError("no statement has this learner_id; accepted: one of a table")
    return [Identity(row["kind"], row["user_id"], row["home_page"]) for row in rows]
