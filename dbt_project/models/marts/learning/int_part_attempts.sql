with

part_attempt_events as (

    select * from {{ ref('part_attempt_events').render() }}

),

-- Missing ids become 0 or '', so that they can be keys.
keyed as (

    select
        *,
        coalesce(activity_id, 0) as activity_key,
        coalesce(part_id, '') as part_key

    from part_attempt_events

),

part_attempts as (

    select
        event_id,
        load_id,
        section_id,
        course_id,
        learner_id,
        activity_key as activity_id,
        part_key as part_id,
        timestamp,
        -- Which attempt is the first.
        (
            timestamp,
            coalesce(activity_attempt_number, 0),
            coalesce(part_attempt_number, 0),
            event_id
        ) as attempt_order,
        activity_attempt_guid,
        {{ is_correct('score', 'out_of', 'success') }} as is_correct,
        {{ share_of_points('score', 'out_of', 'scaled_score') }} as share,
        coalesce(hints_requested, 0) as hints,
        response,
        feedback,
        attached_objectives,
        -- Of all that the marts read: an event may keep its id and change its score.
        cityHash64(
            event_id,
            learner_id,
            activity_id,
            part_id,
            attempt_order,
            coalesce(activity_attempt_guid, ''),
            is_correct,
            coalesce(share, -1),
            hints,
            isNull(response),
            coalesce(response, '')
        ) as event_hash

    from keyed

)

select * from part_attempts
