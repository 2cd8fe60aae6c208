"""A learner who is erased: statements in every form, and a search for what is left of them."""

import gzip
import hashlib
import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from loader.clickhouse.warehouse import Warehouse
from tests.helpers.small_database import TORUS, VERBS_AND_TYPES, statement

HOME = "https://LMS.example.org"
USER = "secret-user-7431"
MAIL = "Ann.Secret@example.org"
ACCOUNT = {"account": {"homePage": HOME, "name": USER}}
MBOX = {"mbox": f"mailto:{MAIL}"}
SHA1 = hashlib.sha1(f"mailto:{MAIL.lower()}".encode()).hexdigest()
HASHED = {"mbox_sha1sum": SHA1}
STUB = '{"xapi_elt": "erased"}'

# What nothing may have when both identities are erased.
IDENTIFIERS = (USER, MAIL, MAIL.lower(), SHA1)

# Options of the command for each identity. Case makes no difference in hosts and addresses.
OPTIONS = (
    ("--user", USER, "--home-page", HOME.lower()),
    ("--mbox", MAIL.lower()),
)


def of_learner(minute: int, actor: dict[str, Any] = ACCOUNT, family: str = "video") -> str:
    """A statement of the learner."""
    return statement(family, minute=minute, actor=actor)


def in_all_families() -> list[str]:
    """One of each family."""
    return [of_learner(20 + at, family=family) for at, family in enumerate(VERBS_AND_TYPES)]


def others(count: int, first: int = 100) -> list[str]:
    """Statements of another learner."""
    return [statement(minute=first + at) for at in range(count)]


# By name: a line, and what it becomes. `other` and `more` are of another learner.
def lines_of_several() -> dict[str, tuple[str, str]]:
    """Lines with several statements, or in an envelope."""
    mine, other, more = of_learner(60), *others(2, 300)
    return {
        "a list": (f"[{other}, {mine}, {more}]", f"[{other}, {STUB}, {more}]"),
        "one after another": (f"{other}{mine}", f"{other}{STUB}"),
        "an answer": (
            json.dumps({"statements": [json.loads(mine), json.loads(other)]}),
            json.dumps({"statements": [json.loads(STUB), json.loads(other)]}),
        ),
        "an envelope": (f'{{"statement": {mine}}}', f'{{"statement": {STUB}}}'),
        "a text": (json.dumps({"message": f"{mine}\n{other}"}), f"[{STUB},{other}]"),
        "all": (f"[{mine},{mine}]", f"[{STUB},{STUB}]"),
        "with a broken rest": (f'{mine}{other} {{"actor"', f'{STUB}{other} {{"actor"'),
        "escaped": (mine.replace("/", "\\/"), STUB),
    }


def unreadable() -> list[str]:
    """Lines without a learner that contain the identifiers."""
    return [f"502 for {USER}", f'{{"actor": {{"name": "{USER}"', of_learner(61)[:-9]]


def naming_others() -> str:
    """A statement of another learner that names this one."""
    return statement(
        minute=62, context={"instructor": ACCOUNT, "extensions": {f"{TORUS}section_id": 2161}}
    )


def found_in_files(folder: Path, words: Iterable[str] = IDENTIFIERS) -> list[str]:
    """Files that contain an identifier, as they are or gzipped."""
    found = []
    for path in folder.rglob("*"):
        if path.is_file() and not path.is_symlink():
            found += [f"{path}: {name}" for name in _in_bytes(path.read_bytes(), words)]
    return found


def found_in_versions(client: Any, bucket: str) -> list[str]:
    """Versions of objects that contain an identifier."""
    found = []
    for one in client.list_object_versions(Bucket=bucket).get("Versions", []):
        place = {"Bucket": bucket, "Key": one["Key"], "VersionId": one["VersionId"]}
        body = client.get_object(**place)["Body"].read()
        found += [f"{one['Key']} {one['ETag']}: {name}" for name in _in_bytes(body)]
    return found


def found_in_tables(warehouse: Warehouse) -> list[str]:
    """Tables that contain an identifier in any row, also a masked one. Files are compressed, so a
    search in files does not find these."""
    tables = warehouse.query(
        "select database, name from system.tables where engine like '%MergeTree' "
        "or engine in ('Memory', 'Join', 'Set')"
    )
    found = []
    for row in tables:
        rows = warehouse.query(
            "select count() as n from {schema:Identifier}.{table:Identifier} as one "
            "where multiSearchAny(toString(tuple(one.*)), {words:Array(String)}) "
            "settings apply_deleted_mask = 0",
            schema=row["database"],
            table=row["name"],
            words=list(IDENTIFIERS),
        )
        if rows[0]["n"]:
            found.append(f"{row['database']}.{row['name']}: {rows[0]['n']} rows")
    return found


def parts_that_are_gone(warehouse: Warehouse) -> int:
    """Parts and tables that are still on the disk, although no query reads them.

    Parts from after the tombstones have nothing of the learner that is not in an active part.
    """
    [parts] = warehouse.query(
        "select count() as n from system.parts where not active and modification_time < "
        "(select min(erased_at) from xapi_raw.erased_learners)"
    )
    [tables] = warehouse.query("select count() as n from system.dropped_tables")
    return parts["n"] + tables["n"]


def environment(**values: str) -> dict[str, str]:
    """The environment of a command."""
    return os.environ | values


def _in_bytes(body: bytes, words: Iterable[str] = IDENTIFIERS) -> list[str]:
    if body.startswith(b"\x1f\x8b"):
        body += gzip.decompress(body)
    return [name for name in words if name.encode() in body]
