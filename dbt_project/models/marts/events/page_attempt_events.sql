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

page_attempt_events as (

    select
        {{ event_keys() }},
        {{ attempt_grade() }},
        {{ event_lineage() }}

    from statements

    where family = 'page_attempt'

)

select * from page_attempt_events
