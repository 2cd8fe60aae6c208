{#-
    Harm: a rebuild of days replaces whole months. It doubles a row that is in the partition of
    another month when it rebuilds the row's own month, and loses it when it rebuilds the other one.
    Queries that prune by month do not see the row.

    An error: only moving the rows repairs it. Not stored: it returns one row per partition.
-#}
{{ config(severity = 'error', store_failures = false) }}

with

events as (

    select * from {{ ref('ops_events') }}

),

misplaced as (

    select
        family,
        partition_id,
        toYYYYMM(timestamp) as month,
        count() as event_count

    from events

    where partition_id != toString(toYYYYMM(timestamp))

    group by
        family,
        partition_id,
        month

)

select * from misplaced
