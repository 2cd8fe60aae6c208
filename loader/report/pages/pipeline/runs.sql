-- The latest load attempts.
select
    committed_at,
    outcome,
    mode,
    objects,
    objects_failed + objects_unknown as objects_failed,
    lines,
    bytes,
    duration_seconds,
    seconds_to_tables,
    length(waiting_tables) as tables_waiting
from ops_loads
order by committed_at desc
limit {limit:UInt32}
