-- The most frequent wrong answers to each question.
select
    course_id,
    activity_id,
    part_id,
    response,
    learners_ever as learners,
    attempts,
    feedback
from fct_answers
where
    section_id = {section:UInt64}
    and (section_id > 0 or course_id = {course:String})
    and not is_correct
order by
    attempts desc,
    response
limit 3 by course_id, activity_id, part_id
