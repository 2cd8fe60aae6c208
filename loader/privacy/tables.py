"""Remove the rows of erased learners from the tables of the models."""

from loader.clickhouse.schema import is_there
from loader.clickhouse.warehouse import Warehouse
from loader.privacy import sql
from loader.privacy.claims import Claims
from loader.settings import Settings

STORE = "int_xapi__statements"
REJECTED = "rejected_statements"
# It comes last among the event tables, by its name: until then it says what the learner had voided.
VOIDINGS = "voided_statements"

# Of an erased statement its place stays: the rows of a store that is filled again are the same.
PLACE = ("load_id", "source_path", "source_line", "source_item", "loaded_at")

COLUMNS = """
select name, type from system.columns
where database = {database:String} and table = {table:String}
order by position
"""
# Whether dbt changes a table under a claim.
IS_CLAIMED = """
select count() > 0 as is_claimed from {database:Identifier}.elt_tables
where model = {table:String}
union all
select count() > 0 from system.tables
where database = {database:String} and startsWith(name, concat('elt_claim__', {table:String}, '__'))
"""

OF_LEARNERS = "learner_id in (select learner_id from {raw:Identifier}.erasure_learners)"
OF_PLACES = """
(load_id, source_path, source_line) in (
    select load_id, if(bucket = '', key, concat(bucket, '/', key)), source_line
    from {raw:Identifier}.erasure_lines
    where source_line > 0
)
and (load_id, source_path, source_line, source_item) in (
    select load_id, if(bucket = '', key, concat(bucket, '/', key)), source_line, item
    from {raw:Identifier}.erasure_lines
    array join source_items as item
    where source_line > 0
)
"""
OF_STORE = f"family != 'erased' and ({OF_LEARNERS} or ({OF_PLACES}))"

COUNT = "select count() as rows from {database:Identifier}.{table:Identifier} where $condition"
DELETE = """
alter table {database:Identifier}.{table:Identifier} $on_cluster delete where $condition
settings mutations_sync = 2, allow_nondeterministic_mutations = 1
"""
# Rejected lines have no learner; their places are those of the store. One with several statements
# is found by the statement.
KEEP_STORED_PLACES = f"""
insert into {{raw:Identifier}}.erasure_lines (load_id, bucket, key, source_line, source_items)
select load_id, '', source_path, source_line, groupUniqArray(source_item)
from {{database:Identifier}}.{STORE}
where {OF_LEARNERS} and family = 'rejected'
group by load_id, source_path, source_line
"""
ADD_ERASED = f"""
insert into {{database:Identifier}}.{STORE} ($columns)
select $values
from {{database:Identifier}}.{STORE} as stored
where {OF_STORE}
    and (load_id, source_path, source_line, source_item) not in (
        select load_id, source_path, source_line, source_item
        from {{database:Identifier}}.{STORE}
        where family = 'erased'
    )
    and (select count() >= 0 from {{database:Identifier}}.{{claim_name:Identifier}})
settings throw_on_max_partitions_per_insert_block = 0
"""
# Loads that a table has to apply again: other lines report an event that leaves, or a statement of
# the learner had voided an event. The next run of dbt inserts these events.
LOADS_OF_OTHERS = f"""
select distinct load_id
from {{database:Identifier}}.{STORE}
where family not in ('erased', 'rejected', 'blank', 'other')
    and (
        event_id in (
            select event_id from {{database:Identifier}}.{{table:Identifier}} where {OF_LEARNERS}
        )
        or lower(ifNull(statement_id, '')) in (
            select lower(ifNull(voided_statement_id, ''))
            from {{database:Identifier}}.{VOIDINGS}
            where {OF_LEARNERS} and notEmpty(voided_statement_id)
        )
    )
"""
HAS_LOADS = f"select count() > 0 as has_loads from ({LOADS_OF_OTHERS})"
APPLY_AGAIN = f"""
delete from {{database:Identifier}}.elt_applied_loads
where model = {{table:String}} and load_id in ({LOADS_OF_OTHERS})
settings lightweight_deletes_sync = 2
"""
# The id of events without content.
ERASED_ID = """
select toString(any(erased_event_id)) as id
from {database:Identifier}.stg_xapi__erasure_requests
"""


class Tables:
    """The tables of the models, under the claims of a run.

    Args:
        warehouse: has the tables.
        settings: which database.
        claims: claims tables for the run.
    """

    def __init__(self, warehouse: Warehouse, settings: Settings, claims: Claims):
        self._warehouse = warehouse
        self._settings = settings
        self._claims = claims
        self._events: set[str] = set()

    def erase(self, erased_id: str) -> dict[str, int]:
        """Remove the rows of the learners and lines that the work tables name.

        The store comes first: what dbt adds to another table after that is without them.

        Args:
            erased_id: the event id of statements without content.

        Returns:
            The rows that left each table.
        """
        found: dict[str, int] = {}
        if is_there(self._warehouse, self._settings.database, STORE):
            self._claims.command(KEEP_STORED_PLACES)
            found[STORE] = self._erase_store(erased_id)
        if is_there(self._warehouse, self._settings.database, REJECTED):
            found[REJECTED] = self._delete(REJECTED, OF_PLACES)
        tables = self._warehouse.query(sql.TABLES)
        if any(row["name"] == VOIDINGS for row in tables):
            self._events = {row["name"] for row in tables if row["is_event"]}
        for row in tables:
            name = row["name"]
            # What a dead run left beside a table is dropped with the claim of the table.
            if name != STORE and not name.startswith("elt_new__"):
                found[name] = self._delete(name, OF_LEARNERS)
        return {name: rows for name, rows in found.items() if rows}

    def _erase_store(self, erased_id: str) -> int:
        """Replace rows of the store by rows without content, which are inserted first."""
        columns = self._warehouse.query(COLUMNS, table=STORE)
        names = ", ".join(_quoted(column["name"]) for column in columns)
        values = ", ".join(_erased(column["name"], column["type"]) for column in columns)
        with self._claims.hold(STORE) as claim:
            rows = self._count(STORE, OF_STORE)
            if rows:
                add = ADD_ERASED.replace("$columns", names).replace("$values", values)
                self._claims.command(add, erased_id=erased_id, claim_name=claim.name)
                self._claims.record(claim, count=False)
                self._claims.command(DELETE.replace("$condition", OF_STORE), table=STORE)
            self._claims.record(claim, count=True)
        return rows

    def _delete(self, table: str, condition: str) -> int:
        if not any(row["is_claimed"] for row in self._warehouse.query(IS_CLAIMED, table=table)):
            return self._delete_rows(table, condition)
        with self._claims.hold(table) as claim:
            # Recorded before anything leaves: the next run must know of it if this one is killed.
            claim.compare_all = table in self._events and self._has_loads_of_others(table)
            if claim.compare_all or self._count(table, condition):
                self._claims.record(claim, count=False)
            if claim.compare_all:
                self._claims.command(APPLY_AGAIN, table=table)
            rows = self._delete_rows(table, condition)
            self._claims.record(claim, count=True)
        return rows

    def _has_loads_of_others(self, table: str) -> bool:
        return bool(self._warehouse.query(HAS_LOADS, table=table)[0]["has_loads"])

    def _delete_rows(self, table: str, condition: str) -> int:
        rows = self._count(table, condition)
        if rows:
            self._claims.command(DELETE.replace("$condition", condition), table=table)
        return rows

    def _count(self, table: str, condition: str) -> int:
        return self._warehouse.query(COUNT.replace("$condition", condition), table=table)[0]["rows"]


def _erased(name: str, kind: str) -> str:
    """The value of a column for a statement without content."""
    if name in PLACE:
        return f"stored.{_quoted(name)}"
    if name == "family":
        return "'erased'"
    if name == "event_id":
        return "toUUID({erased_id:String})"
    escaped = kind.replace("\\", "\\\\").replace("'", "\\'")
    return f"defaultValueOfTypeName('{escaped}')"


def _quoted(name: str) -> str:
    return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"
