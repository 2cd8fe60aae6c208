-- The figures at the top of the page.
select
    (
        select uniqExact(learner_id)
        from fct_learner_activity
        where
            section_id = {section:UInt64}
    and (section_id > 0 or course_id = {course:String})
    ) as learners,
    (
        select uniqExactIf(learner_id, days_since_last < 7)
        from fct_learner_activity
        where
            section_id = {section:UInt64}
    and (section_id > 0 or course_id = {course:String})
    ) as learners_this_week,
    (
        select sum(views)
        from fct_videos
        where
            section_id = {section:UInt64}
    and (section_id > 0 or course_id = {course:String})
    ) as views,
    (
        select sum(minutes_played)
        from fct_videos
        where
            section_id = {section:UInt64}
    and (section_id > 0 or course_id = {course:String})
    ) as minutes_played,
    (
        select sum(plays)
        from fct_videos
        where
            section_id = {section:UInt64}
    and (section_id > 0 or course_id = {course:String})
    ) as plays,
    (
        select sum(views)
        from fct_pages
        where
            section_id = {section:UInt64}
    and (section_id > 0 or course_id = {course:String})
    ) as page_views,
    (
        select sum(attempts)
        from fct_questions
        where
            section_id = {section:UInt64}
    and (section_id > 0 or course_id = {course:String})
    ) as attempts
