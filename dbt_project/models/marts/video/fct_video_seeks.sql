with

player_events as (

    select * from {{ ref('int_player_events').render() }}

),

-- Jumps of more than a second from one place to another.
jumps as (

    select
        section_id,
        course_id,
        video_key,
        learner_id,
        floor(place / 5) * 5 as from_place,
        floor(place_after / 5) * 5 as to_place,
        place_after - place as seconds

    from player_events

    where
        verb = 'seeked'
        and place >= 0
        and place_after >= 0
        and abs(place_after - place) > 1

),

seeks as (

    select
        section_id,
        course_id,
        video_key,
        from_place,
        to_place,
        count() as seeks,
        uniqExact(learner_id) as learners,
        countIf(jumps.seconds > 0) as forward,
        sum(abs(jumps.seconds)) as seconds

    from jumps

    group by
        section_id,
        course_id,
        video_key,
        from_place,
        to_place

)

select * from seeks
