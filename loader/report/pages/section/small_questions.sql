-- Questions with too few learners to show their shares.
select count() as questions
from fct_questions
where
    section_id = {section:UInt64}
    and (section_id > 0 or course_id = {course:String})
    and learners < {min_group:UInt32}
