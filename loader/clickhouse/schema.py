"""The DDL of what the loader writes into: databases, the raw statements, the ledger."""

import hashlib
import json
import secrets
from pathlib import Path
from string import Template

from loader.clickhouse.warehouse import Warehouse
from loader.settings import Settings

SQL = Path(__file__).with_name("sql")

TABLES = ("statements", "loads", "expired_loads", "learner_key")

HAS_LEARNER_KEY = "select count() > 0 as has_key from {raw:Identifier}.learner_key"
# The key travels as data, which is in no log of statements.
MAKE_LEARNER_KEY = """
insert into {raw:Identifier}.learner_key (first_half, second_half) format JSONEachRow
"""

# Whether the ledger was made by a release before 0.2.
IS_OLD = """
select count() = 0 as is_old
from system.columns
where database = {raw:String} and table = 'loads' and name = 'commit_number'
"""

# The view carries the hash of its definition, so that it is created again only when that changed.
VIEW_VERSION = """
select comment from system.tables where database = {raw:String} and name = 'committed_objects'
"""


def init(warehouse: Warehouse, settings: Settings) -> list[str]:
    """Create the databases and tables that are missing; existing ones stay as they are.

    Returns:
        One line for each database and table.

    Raises:
        LoaderError: ClickHouse refused.
    """
    for name in ("database", "raw_database"):
        warehouse.command(ddl(name, settings))
    for table in TABLES:
        warehouse.command(ddl(table, settings))
    if warehouse.query(IS_OLD, raw=settings.raw_database)[0]["is_old"]:
        for name in ("upgrade_loads", "upgrade_loads_projections"):
            warehouse.command(ddl(name, settings))
    if not warehouse.query(HAS_LEARNER_KEY)[0]["has_key"]:
        warehouse.command(MAKE_LEARNER_KEY, data=new_key())
    view = ddl("committed_objects", settings)
    version = hashlib.sha256(view.encode()).hexdigest()[:16]
    if warehouse.query(VIEW_VERSION, raw=settings.raw_database) != [{"comment": version}]:
        warehouse.command(f"{view} comment '{version}'")
    return [
        f"database {settings.database}: the models that dbt builds",
        *(f"table {settings.raw_database}.{table}" for table in TABLES),
        f"view {settings.raw_database}.committed_objects",
    ]


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
        raw=settings.raw_database,  # a view would take a parameter for one of its own
    )
