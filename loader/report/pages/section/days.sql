-- What learners did on each day, by kind.
select
    day,
    kind_and_count.1 as kind,
    kind_and_count.2 as events
from (
    select
        day,
        arrayJoin([
            ('Video plays', sum(plays)),
            ('Page views', sum(page_views)),
            ('Answers', sum(attempts))
        ]) as kind_and_count
    from fct_section_days
    where
        section_id = {section:UInt64}
    and (section_id > 0 or course_id = {course:String})
    group by day
)
where events > 0
order by
    day,
    kind
