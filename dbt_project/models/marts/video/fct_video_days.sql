with

learner_video_days as (

    select * from {{ ref('fct_learner_video_days').render() }}

),

video_days as (

    select
        section_id,
        course_id,
        video_key,
        day,
        count() as learners,
        sum(learner_days.plays) as plays,
        sum(learner_days.completions) as completed,
        sum(learner_days.seconds_played) as seconds_played

    from learner_video_days as learner_days

    group by
        section_id,
        course_id,
        video_key,
        day

)

select * from video_days
