{#-
    Harm: raw lines of a committed object are gone (a clean-up that took too much, a lost part), or
    there are more than the loader counted. The tables still answer, but the next rebuild or full
    refresh, which reads the raw lines, loses or doubles events.

    An error: load the object anew before anything is rebuilt. Not stored: the objects can be
    listed again as long as the harm lasts.
-#}
{{ config(severity = 'error', store_failures = false) }}

with

objects as (

    select
        load_id,
        bucket,
        key,
        lines

    from {{ ref('ops_objects') }}

    where status = 'visible'

),

raw_statements as (

    select * from {{ source('xapi_raw', 'statements') }}

),

counts as (

    select
        load_id,
        bucket,
        key,
        toInt64(lines) as committed_lines,
        0 as raw_lines,
        1 as is_committed

    from objects

    union all

    select
        load_id,
        bucket,
        toString(key) as key,
        0 as committed_lines,
        toInt64(count()) as raw_lines,
        0 as is_committed

    from raw_statements

    group by
        load_id,
        bucket,
        key

),

disagreements as (

    select
        load_id,
        bucket,
        key,
        sum(committed_lines) as committed,
        sum(raw_lines) as raw,
        sum(is_committed) as times_committed

    from counts

    group by
        load_id,
        bucket,
        key

    having times_committed > 0 and committed != raw

)

select * from disagreements
