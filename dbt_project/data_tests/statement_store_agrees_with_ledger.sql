{#-
    Harm: the statement store, from which all tables are filled, holds fewer lines of an object than
    the loader counted when it committed the object (no table has the missing ones), or more (they
    are doubled, or were inserted after the commit).

    An error: the store has recorded the load as applied and does not read it again; rebuild it.
    Not stored: this query lists the objects as long as the harm lasts.
-#}
{{ config(severity = 'error', store_failures = false) }}

with

objects as (

    select * from {{ ref('ops_objects') }}

),

stored_loads as (

    select load_id

    from {{ ref('ops_applied_loads') }}

    where table_name = 'int_xapi__statements'

),

superseded as (

    select
        load_id,
        source_path

    from objects

    where status = 'superseded'

),

visible as (

    select
        load_id,
        source_path,
        lines

    from objects

    where
        status = 'visible'
        and load_id in (select * from stored_loads)

),

statements as (

    select *

    from {{ ref('int_xapi__statements') }}

    where
        load_id in (select * from stored_loads)
        and (load_id, source_path) not in (select * from superseded)
        -- A line with several statements counts with the first of them.
        and source_item <= 1

),

suspects as (

    {{ loads_that_differ('visible', 'statements', 'source_path') }}

),

counts as (

    select
        load_id,
        source_path,
        toInt64(lines) as committed_lines,
        0 as stored_lines

    from visible

    union all

    select
        load_id,
        source_path,
        0 as committed_lines,
        toInt64(count()) as stored_lines

    from statements

    group by
        load_id,
        source_path

),

disagreements as (

    select
        load_id,
        source_path,
        sum(committed_lines) as committed,
        sum(stored_lines) as stored

    from counts

    where load_id in (select * from suspects)

    group by
        load_id,
        source_path

    having committed != stored

)

select * from disagreements
