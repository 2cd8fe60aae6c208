{{ config(
    engine = engine_name('MergeTree'),
    order_by = '(load_id, source_path, source_line, source_item)',
    partition_by = 'toYYYYMM(loaded_at)',
    row_key = 'load_id, source_path, source_line, source_item',
    key_scope = 'load_id',
    loads_from = 'int_xapi__statements',
) }}

with

statements as (

    select * from {{ statements() }}

),

-- All loads, also in a rebuild: the first load of a line may be outside its range.
stored as (

    select * from {{ ref('int_xapi__statements') }}

),

first_loads as (

    select
        event_id,
        min(loaded_at) as first_loaded_at

    from stored

    where family = 'rejected'

    group by event_id

),

rejected_statements as (

    select
        statements.event_id as line_id,
        toLowCardinality(statements.reject_reason) as reason,
        statements.rejected_line as line,
        if(
            first_loads.first_loaded_at = 0,
            statements.loaded_at,
            first_loads.first_loaded_at
        ) as first_seen_at,
        statements.load_id as load_id,
        statements.source_path as source_path,
        statements.source_line as source_line,
        statements.source_item as source_item,
        statements.loaded_at as loaded_at

    from statements

    left join first_loads on statements.event_id = first_loads.event_id

    where statements.family = 'rejected'

)

select * from rejected_statements
