-- Statements that no table takes.
select
    verb_iri,
    object_type,
    statements,
    last_seen_at
from ops_other_statements
order by
    statements desc,
    verb_iri
limit {limit:UInt32}
