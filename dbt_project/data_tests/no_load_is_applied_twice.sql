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

-- A rebuild records its loads as applied, too, but starts none; a run that died did not get to
-- record what it had started.
runs as (

    select
        model,
        load_id,
        run_id,
        countIf(state = 'started') as times_started

    from applications

    where (model, table_uuid) in (select * from tables)

    group by
        model,
        load_id,
        run_id

    having countIf(state = 'applied') > 0

),

applied_twice as (

    select
        model,
        load_id,
        sum(times_started) as times,
        groupArray(run_id) as run_ids

    from runs

    group by
        model,
        load_id

    having times > 1

)

select * from applied_twice
