{{ config(
    engine = engine_name('ReplacingMergeTree'),
    order_by = '(section_id, course_id, timestamp, event_id)',
    partition_by = 'toYYYYMM(timestamp)',
    **event_table_config()
) }}

with

statements as (

    select * from {{ statements() }}

),

part_attempt_events as (

    select
        {{ event_keys() }},
        {{ activity_attempt_keys() }},
        part_attempt_guid,
        part_attempt_number,
        part_id,
        {{ attempt_grade() }},
        response,
        feedback,
        hints_requested,
        attached_objectives,
        {{ event_lineage() }}

    from statements

    where family = 'part_attempt'

)

select * from part_attempt_events
