"""Show what each line of files would become, in a temporary embedded database.

The lines are loaded and parsed as always: by the loader, and by the SQL of the staging view.
"""

import os
import shutil
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, BinaryIO

from loader.clickhouse import schema
from loader.clickhouse.connect import open_warehouse
from loader.clickhouse.warehouse import Warehouse
from loader.errors import SettingsError
from loader.files import check_lines, local_files
from loader.load import load
from loader.objects import SUFFIXES, S3Object
from loader.settings import Settings
from loader.staging_sql import rendered, staging_sql

STDIN = "-"

# Line numbers that are listed for a reason.
MOST_LINES = 10

# Rows that are read from the database at a time.
_PAGE = 20_000

PARSED = """
create table {database:Identifier}.parsed
engine = MergeTree order by (file, line, item)
as
select
    key as file,
    source_line as line,
    source_item as item,
    toString(family) as family,
    {{ table_of_family('family') }} as table,
    toString(reject_reason) as reason,
    toString(event_id) as event_id,
    statement_id,
    object_id,
    verb,
    timestamp,
    section_id
from ({{ staging }})
"""

# A table holds an event once: of several lines, the first.
FIRSTS = """
create table {database:Identifier}.firsts
engine = MergeTree order by (table, event_id)
as
select table, event_id, min((file, line, item)) as first
from {database:Identifier}.parsed
where table != '' and family != 'rejected'
group by table, event_id
having count() > 1
"""

FATES = """
create table {database:Identifier}.fates
engine = MergeTree order by (file, line, item)
as
select
    parsed.* except (statement_id, object_id),
    firsts.first as first,
    multiIf(
        table != '' and {{ is_voided_statement('{database:Identifier}.parsed') }}, 'voided',
        firsts.first.1 != '' and firsts.first != (file, line, item), 'repeat',
        table != '', table,
        family
    ) as becomes
from {database:Identifier}.parsed as parsed
left join {database:Identifier}.firsts as firsts
    on parsed.table = firsts.table and parsed.event_id = firsts.event_id
"""

PAGE = """
select * except first, first.1 as first_file, first.2 as first_line, first.3 as first_item
from {database:Identifier}.fates
where (file, line, item) > ({file:String}, {line:UInt64}, {item:UInt64})
order by file, line, item
limit {page:UInt64}
"""

COUNTS = """
select file, becomes, count() as count
from {database:Identifier}.fates
group by file, becomes
order by file, becomes
"""

REASONS = """
select
    reason,
    file,
    count() as count,
    arraySlice(arraySort(groupUniqArray(line)), 1, {most:UInt64}) as lines
from {database:Identifier}.fates
where family = 'rejected'
group by reason, file
order by reason, file
"""


# The attribute of a report that counts what becomes no new event.
_FIELDS = {
    "repeat": "repeats",
    "voided": "voided",
    "other": "other",
    "blank": "blank",
    "rejected_statements": "rejected",
}


@dataclass
class FileReport:
    """What the statements of a file would become.

    Attributes:
        file: its path; - for standard input.
        lines: number of lines that are not blank, and of statements where a line has several.
        tables: number of new events by table.
        repeats: statements of an event that is earlier in these files.
        voided: statements that another statement of these files voids.
        other: statements of no family; they stay in the raw lines.
        blank: lines without content.
        rejected: lines, or parts of lines, that would go to rejected_statements.
        error: why the file cannot be loaded; '' if it can.
        warning: why an object with this name would not be loaded from S3; '' if it would be.
    """

    file: str
    lines: int = 0
    tables: dict[str, int] = field(default_factory=dict)
    repeats: int = 0
    voided: int = 0
    other: int = 0
    blank: int = 0
    rejected: int = 0
    error: str = ""
    warning: str = ""

    def add(self, becomes: str, count: int) -> None:
        """Count statements or lines that become the same."""
        self.lines += 0 if becomes == "blank" else count
        if becomes in _FIELDS:
            setattr(self, _FIELDS[becomes], count)
        else:
            self.tables[becomes] = count


@dataclass(frozen=True)
class Reason:
    """Lines of a file that are rejected for one reason.

    Attributes:
        reason: the reason.
        file: the file.
        count: number of lines, or of parts of lines.
        lines: the first of their numbers, from 1.
    """

    reason: str
    file: str
    count: int
    lines: list[int]


class Preview:
    """Files that are loaded into a temporary database (see `preview`)."""

    def __init__(
        self,
        warehouse: Warehouse,
        settings: Settings,
        names: dict[str, str],
        failed: dict[str, str],
    ):
        self._warehouse = warehouse
        self._names = names
        self._failed = failed
        parsed = rendered(settings, PARSED, staging=staging_sql(settings))
        for statement in (parsed, FIRSTS, rendered(settings, FATES)):
            warehouse.command(statement)

    def files(self) -> list[FileReport]:
        """What each file would become, in the order of their paths."""
        found = {
            path: FileReport(name, warning="" if name == STDIN else _warning(path))
            for path, name in self._names.items()
        }
        for row in self._warehouse.query(COUNTS):
            found[row["file"]].add(row["becomes"], row["count"])
        for path, error in self._failed.items():
            found[path].error = error.replace(path, found[path].file)
        return list(found.values())

    def reasons(self) -> list[Reason]:
        """Why lines are rejected, by reason and file."""
        rows = self._warehouse.query(REASONS, most=MOST_LINES)
        return [Reason(**row | {"file": self._names[row["file"]]}) for row in rows]

    def lines(self) -> Iterator[dict[str, Any]]:
        """What each line would become: a table, repeat, voided, other or blank; why it is rejected;
        event id, verb, time and section."""
        place = {"file": "", "line": 0, "item": 0}
        while rows := self._warehouse.query(PAGE, page=_PAGE, **place):
            yield from map(self._line, rows)
            place = {name: rows[-1][name] for name in place}

    def _line(self, row: dict[str, Any]) -> dict[str, Any]:
        found = {"file": self._names[row["file"]], "line": row["line"], "item": row["item"]}
        found["becomes"] = row["becomes"]
        if row["reason"]:
            found["reason"] = row["reason"]
        if row["becomes"] == "repeat":
            first = {"file": self._names[row["first_file"]]}
            first |= {"line": row["first_line"], "item": row["first_item"]}
            found |= {"table": row["table"], "first": first}
        if row["becomes"] != "blank":
            found |= {name: row[name] for name in ("event_id", "verb", "timestamp", "section_id")}
        return found


@contextmanager
def preview(targets: Iterable[str], settings: Settings, stdin: BinaryIO) -> Iterator[Preview]:
    """Load files into a temporary database, which is removed at the end.

    Args:
        targets: .jsonl or .jsonl.gz files, folders of them, or - for standard input.
        settings: where the dbt project is, and the memory of a load.
        stdin: standard input, gzip or not.

    Yields:
        What the lines would become.

    Raises:
        SettingsError: there is no such file.
        LoaderError: the engine refuses.
    """
    with tempfile.TemporaryDirectory(prefix="xapi-check-") as folder:
        names: dict[str, str] = {}
        for target in targets:
            for path in [_saved(stdin, Path(folder))] if target == STDIN else _files(target):
                names[str(path)] = STDIN if target == STDIN else _shown(str(path))
        failed = _not_json_lines(names)
        items = [S3Object("", path) for path in names if path not in failed]
        private = replace(settings, target="embedded", chdb_path=f"{folder}/clickhouse")
        with closing(open_warehouse(private)) as warehouse:
            schema.init(warehouse, private)
            for batch in load(warehouse, private, items, mode="file"):
                failed |= {one.item.key: one.error for one in batch if one.is_failed}
            yield Preview(warehouse, private, names, failed)


def _files(target: str) -> list[Path]:
    """The files of a target."""
    try:
        return local_files(Path(target))
    except SettingsError:
        # A pattern of the shell also names links that lead nowhere, and folders.
        if target.endswith(SUFFIXES) and os.path.lexists(target):
            return [Path(target).absolute()]
        raise


def _not_json_lines(paths: Iterable[str]) -> dict[str, str]:
    """Why files are no JSON Lines, by path."""
    found = {}
    for path in paths:
        try:
            check_lines(Path(path))
        except SettingsError as error:
            found[path] = str(error)
    return found


def _warning(path: str) -> str:
    """Why S3 objects with the ending of this file are not loaded; '' if they are."""
    if path.endswith(SUFFIXES):
        return ""
    return f"from S3, only keys that end in {' or '.join(SUFFIXES)} are loaded"


def _saved(stdin: BinaryIO, folder: Path) -> Path:
    """Standard input as a file, whose name says whether it is gzip; a block at a time in memory."""
    start = stdin.read(2)
    path = folder / ("stdin.jsonl.gz" if start == b"\x1f\x8b" else "stdin.jsonl")
    with path.open("wb") as file:
        file.write(start)
        shutil.copyfileobj(stdin, file)
    return path


def _shown(path: str) -> str:
    """A path as a person writes it: from the current folder, if it is in it."""
    relative = os.path.relpath(path)
    return path if relative.startswith("..") else relative
