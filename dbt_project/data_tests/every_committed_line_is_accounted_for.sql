{#-
    Harm: committed statements are missing from the tables (marts undercount without an error), or
    tables hold events that come from no committed line (marts overcount). The columns missing,
    surplus and doubled say which; docs/models.md has the query that lists the lines.

    An error: no later run repairs it. Not stored: the rows are those of ops_statement_balance,
    which shows them as long as the harm lasts, and stored failures would need a third database.
-#}
{{ config(severity = 'error', store_failures = false) }}

with

balance as (

    select * from {{ ref('ops_statement_balance') }}

),

committed as (

    select toInt64(sum(lines)) as lines

    from {{ ref('ops_objects') }}

    where status = 'visible'

),

unbalanced as (

    select *

    from balance

    where
        statements != events + duplicates + rejected + other + blank + erased + voided + waiting
        or missing != 0
        or surplus != 0
        or doubled != 0

        -- The sum over the families must be the number of lines in the ledger.
        or (family = 'all' and lines != (select * from committed))

)

select * from unbalanced
