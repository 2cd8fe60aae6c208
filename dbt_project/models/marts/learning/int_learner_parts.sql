{{ config(
    materialized = 'compared_incremental',
    engine = engine_name('ReplacingMergeTree') ~ '(version, is_deleted)',
    order_by = '(section_id, course_id, activity_id, part_id, learner_id)',
    group_key = ['section_id', 'course_id', 'learner_id', 'activity_id', 'part_id'],
    made_from = ['int_part_attempts', 'int_learner_parts_now'],
    follows = ['part_attempt_events']
) }}

with

learner_parts as (

    select
        *,
        attempts as events,
        toUInt64(0) as version,
        toUInt8(0) as is_deleted

    from {{ ref('int_learner_parts_now') }}

)

select * from learner_parts
