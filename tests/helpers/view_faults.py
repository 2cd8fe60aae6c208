"""Compare the tables with what the staging view says now."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

from tests.helpers.compare import TABLES

VIEW = "xapi.stg_xapi__statements"
COPY = "xapi.view_rows"

# What is wrong with an event table, by event. The line that an event comes from may be any visible
# line that reports it.
EVENTS_DIFFER = """
with
    said as (
        select event_id, load_id, source_path, source_line, source_item
        from {view}
        where family = '{family}'
    )
select 'is missing' as fault, event_id from said
where event_id not in (select event_id from xapi.{table})
union all
select 'is of no visible line', event_id from xapi.{table}
where (event_id, load_id, source_path, source_line, source_item) not in (select * from said)
union all
select 'is there more than once', event_id from xapi.{table}
group by event_id having count() > 1
limit 5
"""

# What is wrong with the statement store, by line.
LINES_DIFFER = """
with said as (select * except (bucket, key) from {view})
select 'is missing' as fault, load_id, source_path, source_line, source_item
from (select * from said except select * from xapi.int_xapi__statements)
union all
select 'is of no visible line', load_id, source_path, source_line, source_item
from (select * from xapi.int_xapi__statements except select * from said)
union all
select 'is there more than once', load_id, source_path, source_line, source_item
from xapi.int_xapi__statements
group by load_id, source_path, source_line, source_item having count() > 1
limit 5
"""

Query = Callable[[str], list[dict[str, Any]]]
Change = Callable[[str], Any]


@contextmanager
def copy_of_view(change: Change) -> Iterator[str]:
    """A table with the rows that the view has now. Planning the view takes longer than reading
    some thousand lines, and each comparison plans it three times."""
    change(f"create or replace table {COPY} engine = Memory as select * from {VIEW}")
    try:
        yield COPY
    finally:
        change(f"drop table {COPY} sync")


def store_faults(query: Query, view: str = VIEW) -> list[dict[str, Any]]:
    """What is wrong with the statement store: at most a few lines."""
    return query(LINES_DIFFER.format(view=view))


def event_faults(query: Query, family: str, view: str = VIEW) -> list[dict[str, Any]]:
    """What is wrong with the event table of a family: at most a few events."""
    return query(EVENTS_DIFFER.format(view=view, family=family, table=TABLES[family]))


def faults(query: Query, view: str = VIEW) -> list[tuple[str, dict[str, Any]]]:
    """What is wrong with the statement store and all event tables, by table."""
    found = [("int_xapi__statements", fault) for fault in store_faults(query, view)]
    for family, table in TABLES.items():
        found += [(table, fault) for fault in event_faults(query, family, view)]
    return found
