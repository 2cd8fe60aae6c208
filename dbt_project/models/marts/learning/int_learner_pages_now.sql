with

page_activity as (

    select * from {{ ref('int_page_activity').render() }}

),

-- `argMax` ignores NULL, so a share that may be NULL is in a tuple.
learner_pages as (

    select
        section_id,
        course_id,
        learner_id,
        page_id,
        count() as events,
        countIf(is_view) as views,
        min(timestamp) as first_at,
        max(timestamp) as last_at,
        countIf(not is_view) as attempts,
        max(share) as best_share,
        tupleElement(argMaxIf(tuple(share), attempt_order, not is_view), 1) as last_share,
        max(page_activity.is_completed) as is_completed,
        minOrNullIf(timestamp, is_view) as first_view_at,
        minOrNullIf(timestamp, not is_view) as first_attempt_at,
        groupBitXor(event_hash) as events_hash

    from page_activity

    group by
        section_id,
        course_id,
        learner_id,
        page_id

)

select * from learner_pages
