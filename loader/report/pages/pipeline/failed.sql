-- The latest objects that did not load, with the reason.
select
    committed_at,
    status,
    bucket,
    key,
    error,
    count() over () as objects
from ops_objects
where error != ''
order by
    committed_at desc,
    key
limit {limit:UInt32}
