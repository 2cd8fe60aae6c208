-- Objects and lines of the latest days with commits.
select
    day,
    loads,
    objects_visible as objects,
    objects_repeated + objects_superseded as objects_replaced,
    objects_failed + objects_unknown as objects_failed,
    lines,
    bytes,
    events,
    duplicates,
    rejected,
    commit_seconds_median
from ops_daily
order by day desc
limit 90
