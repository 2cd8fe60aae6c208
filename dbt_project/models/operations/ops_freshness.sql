with

tables as (

    select * from {{ ref('ops_tables').render() }}

),

objects as (

    select * from {{ ref('ops_objects').render() }}

),

applied_loads as (

    select
        table_name,
        load_id

    from {{ ref('ops_applied_loads').render() }}

),

events as (

    select * from {{ ref('ops_events').render() }}

),

statements as (

    select * from {{ ref('int_xapi__statements').render() }}

),

committed_loads as (

    select
        load_id,
        min(committed_at) as load_committed_at,
        sum(lines) as load_lines

    from objects

    where status in ('visible', 'repeated', 'superseded')

    group by load_id

),

loads_by_table as (

    select
        tables.table_name as table_name,
        committed_loads.load_id as load_id,
        committed_loads.load_committed_at as load_committed_at,
        committed_loads.load_lines as load_lines,
        (table_name, load_id) in (select * from applied_loads) as is_applied

    from tables

    cross join committed_loads

),

progress as (

    select
        table_name,
        maxOrNullIf(load_committed_at, is_applied) as newest_load_at,
        countIf(not is_applied) as loads_waiting,
        sumIf(load_lines, not is_applied) as lines_waiting,
        minOrNullIf(load_committed_at, not is_applied) as waiting_since

    from loads_by_table

    group by table_name

),

timestamps as (

    select
        {{ table_of_family('family') }} as table_name,
        timestamp

    from events

    union all

    select
        'int_xapi__statements' as table_name,
        assumeNotNull(timestamp) as timestamp

    from statements

    where family != 'rejected'

),

-- A learner's clock may be wrong: an event dated next year must not make a table look fresh.
newest_events as (

    select
        table_name,
        maxOrNullIf(timestamp, timestamp <= now64(3, 'UTC') + interval 1 day) as newest_event_at,
        countIf(timestamp > now64(3, 'UTC') + interval 1 day) as events_in_future

    from timestamps

    group by table_name

),

freshness as (

    select
        tables.table_name as table_name,
        tables.family as family,
        tables.row_count as row_count,
        tables.bytes as bytes,
        newest_events.newest_event_at as newest_event_at,
        newest_events.events_in_future as events_in_future,
        progress.newest_load_at as newest_load_at,
        progress.loads_waiting as loads_waiting,
        progress.lines_waiting as lines_waiting,
        greatest(
            0, coalesce(dateDiff('second', progress.waiting_since, now64(3, 'UTC')), 0)
        ) as lag_seconds

    from tables

    left join progress on tables.table_name = progress.table_name

    left join newest_events on tables.table_name = newest_events.table_name

)

select * from freshness
