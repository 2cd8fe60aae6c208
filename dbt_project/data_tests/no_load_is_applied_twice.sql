{#-
    Harm: two runs worked on one table at once, so the lock between them failed, and the second
    searched for its rows before the first one's were there: events may be doubled.

    An error: whatever let it happen will let it happen again. Not stored: the bookkeeping that
    shows it is permanent.
-#}
{{ config(severity = 'error', store_failures = false) }}

with

applications as (

    select * from {{ source('bookkeeping', 'load_applications') }}

),

tables as (

    select
        table_name,
        table_uuid

    from {{ ref('ops_tables') }}

),

applied_twice as (

    select
        model,
        load_id,
        count() as times,
        groupArray(run_id) as run_ids

    from applications

    where
        state = 'applied'
        and (model, table_uuid) in (select * from tables)

    group by
        model,
        load_id

    having count() > 1

)

select * from applied_twice
