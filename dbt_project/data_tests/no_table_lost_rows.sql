{#-
    Harm: a table has fewer rows than when dbt last changed it: it was truncated, or restored without
    its bookkeeping. Its loads count as applied, so no run brings the rows back.

    An error: fill the table again with dbt run --full-refresh, or restore both databases. Not stored:
    ops_tables shows the same.
-#}
{{ config(severity = 'error', store_failures = false) }}

with

tables as (

    select * from {{ ref('ops_tables') }}

),

incomplete as (

    select
        table_name,
        row_count,
        missing_rows

    from tables

    where missing_rows > 0

)

select * from incomplete
