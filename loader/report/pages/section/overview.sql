-- The figures at the top of the page that its other queries do not have.
with

learners as (

    select
        uniqExact(learner_id) as learners,
        uniqExactIf(learner_id, days_since_last < 7) as learners_this_week
    from fct_learner_activity
    where
        section_id = {section:UInt64}
        and (section_id > 0 or course_id = {course:String})

),

pages as (

    select sum(views) as page_views
    from fct_pages
    where
        section_id = {section:UInt64}
        and (section_id > 0 or course_id = {course:String})

),

questions as (

    select sum(attempts) as attempts
    from fct_questions
    where
        section_id = {section:UInt64}
        and (section_id > 0 or course_id = {course:String})

)

select
    learners,
    learners_this_week,
    page_views,
    attempts
from learners
cross join pages
cross join questions
