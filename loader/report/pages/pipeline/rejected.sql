-- Rejected lines per reason, with the place of an example.
select
    reason,
    count() as lines,
    uniqExact(line_id) as different_lines,
    min(first_seen_at) as since,
    argMax(source_path, loaded_at) as example_path,
    argMax(source_line, loaded_at) as example_line
from rejected_statements
group by reason
order by
    lines desc,
    reason
