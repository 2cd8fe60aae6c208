-- Names of learners of the section, for those who may read them.
select
    learner_id,
    home_page,
    user_id
from dim_learners
where learner_id in (
    select learner_id
    from fct_learner_activity
    where
        section_id = {section:UInt64}
    and (section_id > 0 or course_id = {course:String})
)
