with

part_attempts as (

    select * from {{ ref('int_part_attempts').render() }}

),

-- `argMin` ignores NULL, so values that may be NULL are in tuples.
learner_parts as (

    select
        section_id,
        course_id,
        learner_id,
        activity_id,
        part_id,
        count() as attempts,
        uniqExact(activity_attempt_guid) as activity_attempts,
        sum(part_attempts.hints) as hints,
        countIf(is_correct) as correct,
        argMin(is_correct, attempt_order) as first_try_correct,
        max(is_correct) as eventually_correct,
        max(share) as best_share,
        tupleElement(argMin(tuple(response), attempt_order), 1) as first_response,
        tupleElement(argMax(tuple(response), attempt_order), 1) as last_response,
        min(timestamp) as first_at,
        max(timestamp) as last_at,
        groupBitXor(event_hash) as events_hash

    from part_attempts

    group by
        section_id,
        course_id,
        learner_id,
        activity_id,
        part_id

)

select * from learner_parts
