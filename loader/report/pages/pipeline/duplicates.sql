-- Events that were sent more than once, per family.
select
    family,
    count() as events,
    sum(ops_duplicates.lines) - count() as repeats,
    max(ops_duplicates.objects) as most_objects
from ops_duplicates
group by family
order by
    repeats desc,
    family
