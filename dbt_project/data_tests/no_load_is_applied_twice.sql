{#-
    Harm: two runs changed one table at the same time, so the lock failed. The second searched for
    existing rows before the first had inserted them: events may be doubled.

    An error: the cause is still there, so it can happen again. Not stored: the bookkeeping that
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

-- A rebuild also records its loads as applied, but starts none. A run that died has started loads
-- that it did not record as applied.
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
