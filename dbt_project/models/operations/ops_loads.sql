with

objects as (

    select * from {{ ref('ops_objects').render() }}

),

tables as (

    select * from {{ ref('ops_tables').render() }}

),

applied_loads as (

    select * from {{ ref('ops_applied_loads').render() }}

),

expired_loads as (

    select
        load_id as expired_load_id,
        toNullable(min(source.expired_at)) as expired_at

    from {{ source('xapi_raw', 'expired_loads').render() }} as source

    group by expired_load_id

),

attempts as (

    select
        load_id,
        any(mode) as load_mode,
        any(policy) as load_policy,
        count() as objects,
        countIf(status = 'visible') as objects_visible,
        countIf(status = 'repeated') as objects_repeated,
        countIf(status = 'superseded') as objects_superseded,
        countIf(status = 'failed') as objects_failed,
        countIf(status = 'unknown') as objects_unknown,
        countIf(status = 'missed') as objects_missed,
        sumIf(lines, status = 'visible') as lines_visible,
        sumIf(bytes, status = 'visible') as bytes_visible,
        arraySort(groupUniqArrayIf(10)(error, error != '')) as errors,
        minIf(last_modified, status = 'visible') as oldest_object_at,
        min(started_at) as load_started_at,
        max(committed_at) as load_committed_at,
        max(duration_ms) / 1000 as duration_seconds

    from objects

    group by load_id

),

applications as (

    select
        load_id as applied_load_id,
        mapSort(
            mapFromArrays(groupArray(table_name), groupArray(applied_loads.applied_at))
        ) as applied_to,
        max(applied_loads.applied_at) as last_applied_at

    from applied_loads

    group by applied_load_id

),

table_names as (

    select arraySort(groupArray(table_name)) as all_tables from tables

),

attempts_with_tables as (

    select
        attempts.*,
        applications.*,
        expired_loads.expired_at as expired_at,
        table_names.*

    from attempts

    left join applications on attempts.load_id = applications.applied_load_id

    left join expired_loads on attempts.load_id = expired_loads.expired_load_id

    cross join table_names

),

loads as (

    select
        load_id,
        multiIf(
            objects_failed = objects, 'failed',
            objects_unknown = objects, 'unknown',
            objects_missed = objects, 'missed',
            objects_failed + objects_unknown = 0, 'committed',
            'partly'
        ) as outcome,
        load_mode as mode,
        load_policy as policy,
        objects,
        objects_visible,
        objects_repeated,
        objects_superseded,
        objects_failed,
        objects_unknown,
        objects_missed,
        lines_visible as lines,
        bytes_visible as bytes,
        errors,
        load_started_at as started_at,
        load_committed_at as committed_at,
        duration_seconds,
        oldest_object_at,
        dateDiff('millisecond', oldest_object_at, load_committed_at) / 1000 as seconds_to_commit,
        applied_to,
        if(
            objects_failed + objects_unknown + objects_missed = objects,
            [],
            arrayFilter(name -> not mapContains(applied_to, name), all_tables)
        ) as waiting_tables,
        if(
            empty(waiting_tables),
            dateDiff('millisecond', oldest_object_at, last_applied_at) / 1000,
            null
        ) as seconds_to_tables,
        expired_at

    from attempts_with_tables

)

select * from loads
