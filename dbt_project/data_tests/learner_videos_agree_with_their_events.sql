{#-
    Harm: somebody's row says what was watched before events came, were withdrawn or changed, so every
    figure on that video is wrong, and no run brings it up to date.

    An error: make the rows again with dbt run --full-refresh --select int_learner_videos.
-#}

with

events as (

    select
        section_id,
        course_id,
        learner_id,
        video_key,
        count() as events,
        groupBitXor(event_hash) as events_hash

    from {{ ref('int_player_events') }}

    group by
        section_id,
        course_id,
        learner_id,
        video_key

),

learner_videos as (

    select
        section_id,
        course_id,
        learner_id,
        video_key,
        events,
        events_hash

    from {{ ref('fct_learner_videos') }}

),

either as (

    select * from events

    union all

    select * from learner_videos

),

differing as (

    select
        section_id,
        course_id,
        learner_id,
        video_key

    from either

    group by
        section_id,
        course_id,
        learner_id,
        video_key,
        events,
        events_hash

    having count() != 2

)

select * from differing
