{#-
    Harm: a rebuild of days replaces whole months. A row in another month's partition is doubled
    by the rebuild of its own month and lost by the rebuild of the other; queries that prune by
    month do not see it.

    An error: only moving the rows repairs it. Not stored: one row per partition says enough.
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
