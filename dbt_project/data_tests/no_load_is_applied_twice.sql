{#-
    Harm: two runs changed one table at once, so the claim between them failed, and the second one
    searched for its rows before those of the first were in: events may be doubled.

    An error: what made it possible will do so again. Not stored: the bookkeeping that shows it is
    permanent.
-#}
{{ config(severity = 'error', store_failures = false) }}

with

applications as (

    select * from {{ source('bookkeeping', 'elt_applied_loads') }}

),

tables as (

    select
        table_name,
        table_id

    from {{ ref('ops_tables') }}

),

-- A rebuild records its loads again. Two records of one claim are an insert that arrived twice.
applied_twice as (

    select
        model,
        load_id,
        uniqExact(claim) as times,
        groupArray(run_id) as run_ids

    from applications

    where
        step != 'rebuild'
        and (model, table_id) in (select * from tables)

    group by
        model,
        load_id

    having times > 1

)

select * from applied_twice
