"""The DDL of what the loader writes into: databases, the raw statements, the ledger."""

import hashlib
import json
import re
import secrets
from pathlib import Path
from string import Template

from loader.clickhouse.warehouse import Warehouse
from loader.errors import MissingRightError, PermanentError
from loader.settings import Settings

SQL = Path(__file__).with_name("sql")

# Tables of the erasure of learners (loader.privacy).
ERASURE_TABLES = (
    *("erasure_key", "erased_learners", "erasures"),
    *("erasure_requests", "erasure_learners", "erasure_lines"),
)
TABLES = ("statements", "loads", "expired_loads", "learner_key", *ERASURE_TABLES)

# Tables of one row: a key that is made once.
KEYS = ("learner_key", "erasure_key")
HAS_KEY = "select count() > 0 as has_key from {raw:Identifier}.{table:Identifier}"
# The key travels as data, which is in no log of statements.
MAKE_KEY = """
insert into {raw:Identifier}.{table:Identifier} (first_half, second_half) format JSONEachRow
"""

# What this user sees of the databases. A table's right to be seen comes with any right on it.
FOUND_DATABASES = """
select name from system.databases where name in ({database:String}, {raw:String})
"""
# An old ledger lacks projections of loads.sql; one of a release before 0.2 also columns. (The
# definition is empty if the server could not read it.)
FOUND_TABLES = """
select
    name,
    comment,
    name = 'loads' and create_table_query != ''
        and not (
            has_columns
            and arrayAll(
                name -> position(create_table_query, concat('PROJECTION ', name, ' ')) > 0,
                {projections:Array(String)}
            )
        ) as is_old,
    arrayAll(
        name -> position(create_table_query, concat('`', name, '` ')) > 0, {columns:Array(String)}
    ) as has_columns
from system.tables where database = {raw:String}
"""
# In loads.sql.
COLUMN = re.compile(r"^    (\w+) [A-Z]", re.MULTILINE)
PROJECTION = re.compile(r"^    projection (\w+)", re.MULTILINE)

# Fails if a table is not there, and with another error if the user has no right on it.
PROBE = "select 1 from {schema:Identifier}.{table:Identifier} limit 0"


def init(warehouse: Warehouse, settings: Settings) -> list[str]:
    """Create the databases and tables that are missing; existing ones stay as they are. If nothing
    is missing, no right to create is needed.

    Returns:
        One line for each database and table.

    Raises:
        MissingRightError: something is missing, and the user may not create it.
        LoaderError: ClickHouse refused.
    """
    raw = settings.raw_database
    databases = warehouse.query(FOUND_DATABASES, database=settings.database, raw=raw)
    names = {row["name"] for row in databases}
    if raw not in names:
        is_there(warehouse, raw, "loads")
    for name in ("database", "raw_database"):
        _create(warehouse, settings, name, getattr(settings, name) in names)
    # The view carries the hash of its definition, so that it is created again only when that
    # changed.
    ledger = ddl("loads", settings)
    columns, projections = COLUMN.findall(ledger), PROJECTION.findall(ledger)
    tables = warehouse.query(FOUND_TABLES, raw=raw, columns=columns, projections=projections)
    found = {row["name"]: row for row in tables}
    for table in TABLES:
        _create(warehouse, settings, table, table in found or is_there(warehouse, raw, table))
    if "loads" in found and found["loads"]["is_old"]:
        _upgrade(warehouse, settings, found["loads"]["has_columns"])
    for table in KEYS:
        if not warehouse.query(HAS_KEY, table=table)[0]["has_key"]:
            warehouse.command(MAKE_KEY, data=new_key(), table=table)
    view = ddl("committed_objects", settings)
    version = hashlib.sha256(view.encode()).hexdigest()[:16]
    if "committed_objects" not in found or found["committed_objects"]["comment"] != version:
        _change(warehouse, f"{view} comment '{version}'")
    return [
        f"database {settings.database}: the models that dbt builds",
        *(f"table {raw}.{table}" for table in TABLES),
        f"view {raw}.committed_objects",
    ]


def _create(warehouse: Warehouse, settings: Settings, name: str, is_there: bool) -> None:
    """Create a database or table. On a cluster also one that is here, because another node may lack
    it; that needs a right which is not required."""
    if is_there and settings.target != "cluster":
        return
    try:
        _change(warehouse, ddl(name, settings))
    except MissingRightError as error:
        if is_there:
            return
        if name in TABLES:
            raise
        database = getattr(settings, name)
        raise MissingRightError(
            f"{error}. If database {database} exists, the user only may not see it: grant show "
            f"databases on `{database}`.* to the user"
        ) from None


def _upgrade(warehouse: Warehouse, settings: Settings, has_columns: bool) -> None:
    """Upgrade the ledger. One that lacks a projection alone works; a user who may not change it
    leaves it as it is."""
    try:
        for name in ("upgrade_loads", "upgrade_loads_projections"):
            _change(warehouse, ddl(name, settings))
    except MissingRightError:
        if not has_columns:
            raise


def _change(warehouse: Warehouse, statement: str) -> None:
    """Create or upgrade something; the error of a user who may not says who should.

    Raises:
        MissingRightError: the user may not.
    """
    try:
        warehouse.command(statement)
    except MissingRightError as error:
        raise MissingRightError(
            f"{error}. Or run xapi-elt init as a user who has it: something is missing, or of an "
            "earlier release"
        ) from None


def is_there(warehouse: Warehouse, database: str, table: str) -> bool:
    """Whether a table exists. One that the user may not see is not in system.tables either.

    Args:
        warehouse: the ClickHouse to query.
        database: the table's database.
        table: its name.

    Raises:
        MissingRightError: it exists, and the user has no right on it.
    """
    try:
        warehouse.query(PROBE, schema=database, table=table)
    except MissingRightError:
        raise
    except PermanentError:
        return False
    return True


def new_key() -> bytes:
    """A random 128-bit key as a row of JSON."""
    return json.dumps(
        {"first_half": secrets.randbits(64), "second_half": secrets.randbits(64)}
    ).encode()


def ddl(name: str, settings: Settings) -> str:
    """A DDL statement of loader/clickhouse/sql; on a cluster, its replicated form."""
    on_cluster = settings.target == "cluster"
    return Template((SQL / f"{name}.sql").read_text()).substitute(
        on_cluster=f"on cluster `{settings.cluster}`" if on_cluster else "",
        replicated="Replicated" if on_cluster else "",
        analysts=settings.analysts_database,
        raw=settings.raw_database,  # a view would take a parameter for one of its own
    )
