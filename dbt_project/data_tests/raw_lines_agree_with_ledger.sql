{#-
    Harm: raw lines of a committed object are missing (a clean-up deleted too much, a part was lost),
    or there are more than the loader counted. The tables are still right, but the next rebuild or
    full refresh, which reads the raw lines, loses or doubles events.

    An error: load the object again before you rebuild anything. Not stored: this query lists the
    objects as long as the harm lasts.
-#}
{{ config(severity = 'error', store_failures = false) }}

with

objects as (

    select * from {{ ref('ops_objects') }}

),

raw_statements as (

    select * from {{ source('xapi_raw', 'statements') }}

),

visible as (

    select
        load_id,
        bucket,
        key,
        lines

    from objects

    where
        status = 'visible'
        -- Their lines were removed on purpose.
        and load_id not in (select load_id from {{ source('xapi_raw', 'expired_loads') }})

),

not_visible as (

    select
        load_id,
        bucket,
        key

    from objects

    where status != 'visible'

),

lines_that_count as (

    select * from raw_statements

    where (load_id, bucket, key) not in (select * from not_visible)

),

suspects as (

    {{ loads_that_differ('visible', 'lines_that_count', 'bucket, key') }}

),

counts as (

    select
        load_id,
        bucket,
        key,
        toInt64(lines) as committed_lines,
        0 as raw_lines,
        1 as is_committed

    from visible

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

    where load_id in (select * from suspects)

    group by
        load_id,
        bucket,
        key

    having times_committed > 0 and committed != raw

)

select * from disagreements
