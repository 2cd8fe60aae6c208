with

learner_videos as (

    select
        section_id,
        course_id,
        learner_id,
        video_key,
        arrayJoin(days) as day_of_learner

    from {{ ref('fct_learner_videos').render() }}

),

learner_video_days as (

    select
        section_id,
        course_id,
        learner_id,
        video_key,
        day_of_learner.1 as day,
        day_of_learner.2 as events,
        day_of_learner.3 as plays,
        day_of_learner.4 as completions,
        day_of_learner.5 as seconds_played

    from learner_videos

)

select * from learner_video_days
