-- Statement ids that different statements share.
select
    statement_id,
    statements,
    events,
    learners,
    verbs,
    last_seen_at,
    count() over () as ids
from ops_id_conflicts
order by
    events desc,
    statement_id
limit {limit:UInt32}
