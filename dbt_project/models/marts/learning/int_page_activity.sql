with

views as (

    select
        event_id,
        load_id,
        section_id,
        course_id,
        learner_id,
        coalesce(page_id, 0) as page_key,
        timestamp,
        0 as attempt_number,
        true as is_view,
        cast(null as Nullable(Float64)) as share,
        coalesce(completion, false) as is_completed

    from {{ ref('page_viewed_events').render() }}

),

-- The verb says that the attempt is completed, unless the result says that it is not.
attempts as (

    select
        event_id,
        load_id,
        section_id,
        course_id,
        learner_id,
        coalesce(page_id, 0) as page_key,
        timestamp,
        coalesce(page_attempt_number, 0) as attempt_number,
        false as is_view,
        {{ share_of_points('score', 'out_of', 'scaled_score') }} as share,
        coalesce(completion, true) as is_completed

    from {{ ref('page_attempt_events').render() }}

),

either as (

    select * from views

    union all

    select * from attempts

),

page_activity as (

    select
        event_id,
        load_id,
        section_id,
        course_id,
        learner_id,
        page_key as page_id,
        timestamp,
        (timestamp, toUInt64(attempt_number), event_id) as attempt_order,
        is_view,
        share,
        is_completed,
        -- Of all that the marts read: an event may keep its id and change its score.
        cityHash64(
            event_id,
            learner_id,
            page_id,
            attempt_order,
            is_view,
            coalesce(share, -1),
            is_completed
        ) as event_hash

    from either

)

select * from page_activity
