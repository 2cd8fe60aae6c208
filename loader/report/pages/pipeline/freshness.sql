-- How far behind each table is, and how large it is.
select
    table_name,
    row_count,
    bytes,
    newest_event_at,
    events_in_future,
    newest_load_at,
    loads_waiting,
    lines_waiting,
    lag_seconds
from ops_freshness
order by table_name
