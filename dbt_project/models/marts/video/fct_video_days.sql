with

stored as (

    select * from {{ ref('int_learner_videos') }} final

),

-- One row per learner, video and day.
learner_days as (

    select
        section_id,
        course_id,
        video_key,
        arrayJoin(days) as day_of_learner

    from stored

    where not is_deleted

),

video_days as (

    select
        section_id,
        course_id,
        video_key,
        tupleElement(day_of_learner, 'day') as day,
        count() as learners,
        sum(tupleElement(day_of_learner, 'plays')) as plays,
        sum(tupleElement(day_of_learner, 'completions')) as completed,
        sum(tupleElement(day_of_learner, 'seconds')) as seconds_played

    from learner_days

    group by
        section_id,
        course_id,
        video_key,
        day

)

select * from video_days
