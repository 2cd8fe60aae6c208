-- Lines and rows per family; missing, surplus, doubled and outdated must be 0.
select
    family,
    lines,
    statements,
    events,
    duplicates,
    rejected,
    other,
    blank,
    erased,
    voided,
    waiting,
    missing,
    surplus,
    doubled,
    outdated
from ops_statement_balance
order by
    family = 'all',
    lines desc,
    family
