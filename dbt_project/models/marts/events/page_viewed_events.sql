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

page_viewed_events as (

    select
        {{ event_keys() }},
        page_sub_type,
        success,
        completion,
        {{ event_lineage() }}

    from statements

    where family = 'page_viewed'

)

select * from page_viewed_events
