{#-
    Harm: readers see rows of a load that failed, was never finished, repeats an object of an
    earlier load, or was superseded by a later one, and whose rows should have been removed. The
    loader ignores such rows: its next attempt at the object doubles them.

    An error: no later run removes them. Not stored: it returns few rows, one per table, load and
    object, and the test finds them again until someone removes them.
-#}
{{ config(severity = 'error', store_failures = false) }}

with

objects as (

    select * from {{ ref('ops_objects') }}

),

statements as (

    select * from {{ ref('int_xapi__statements') }}

),

events as (

    select * from {{ ref('ops_events') }}

),

rejected_statements as (

    select * from {{ ref('rejected_statements') }}

),

objects_in_tables as (

    select
        'int_xapi__statements' as table_name,
        load_id,
        source_path

    from statements

    union all

    select
        {{ table_of_family('family') }} as table_name,
        load_id,
        source_path

    from events

    union all

    select
        'rejected_statements' as table_name,
        load_id,
        source_path

    from rejected_statements

),

-- By hash, because there are many objects: a wrong one passes with a probability of 1 in 10^12.
visible as (

    select cityHash64(load_id, source_path)

    from objects

    where status = 'visible'

),

tables_behind as (

    select table_name

    from {{ ref('ops_freshness') }}

    where loads_waiting > 0

),

-- What a later load superseded leaves a table when that load is applied to it.
waiting as (

    select
        load_id,
        source_path

    from objects

    where status in ('superseded', 'repeated')

),

uncommitted as (

    select distinct *

    from objects_in_tables

    where
        cityHash64(load_id, source_path) not in (select * from visible)
        and not (
            (load_id, source_path) in (select * from waiting)
            and table_name in (select table_name from tables_behind)
        )

)

select * from uncommitted
