{{ config(
    engine = engine_name('ReplacingMergeTree'),
    order_by = '(section_id, course_id, timestamp, event_id)',
    partition_by = 'toYYYYMM(timestamp)',
    **dict(event_table_config(), can_be_voided=false)
) }}

with

statements as (

    select * from {{ statements() }}

),

voided_statements as (

    select
        lower(coalesce(object_id, '')) as voided_statement_id,
        {{ event_keys() }},
        {{ event_lineage() }}

    from statements

    where family = 'voiding'

)

select * from voided_statements
