-- The pages that are read most.
select
    course_id,
    page_id,
    learners,
    views,
    attempts,
    mean_best_share,
    completed_share,
    median_minutes_to_attempt,
    count() over () as pages
from fct_pages
where
    section_id = {section:UInt64}
    and (section_id > 0 or course_id = {course:String})
order by
    views desc,
    page_id
limit {limit:UInt32}
