{#-
    Harm: committed objects have been waiting for a table longer than they should; its readers get
    old data.

    A warning: the next dbt run repairs it, and a run that fails reports it itself. Not stored:
    ops_freshness shows the same at any time.
-#}
{{ config(severity = 'warn', store_failures = false) }}

with

freshness as (

    select * from {{ ref('ops_freshness') }}

),

late_tables as (

    select
        table_name,
        loads_waiting,
        lines_waiting,
        lag_seconds

    from freshness

    where lag_seconds > {{ var('table_lag_warn_minutes') }} * 60

)

select * from late_tables
