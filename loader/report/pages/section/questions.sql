-- Hard questions first: those that the fewest answer correctly at the first try.
select
    course_id,
    activity_id,
    part_id,
    learners,
    attempts,
    first_try_correct_share,
    eventually_correct_share,
    hints_per_learner,
    count() over () as questions
from fct_questions
where
    section_id = {section:UInt64}
    and (section_id > 0 or course_id = {course:String})
    and learners >= {min_group:UInt32}
order by
    first_try_correct_share,
    learners desc,
    activity_id,
    part_id
limit {limit:UInt32}
