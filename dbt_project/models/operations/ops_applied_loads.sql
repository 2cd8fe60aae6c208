with

applications as (

    select * from {{ source('bookkeeping', 'load_applications').render() }}

),

tables as (

    select * from {{ ref('ops_tables').render() }}

),

-- A table that was dropped or replaced leaves rows behind under its own UUID.
applied_loads as (

    select
        tables.table_name as table_name,
        applications.load_id as load_id,
        minIf(applications.committed_at, applications.state = 'applied') as load_committed_at,
        maxIf(applications.lines, applications.state = 'applied') as load_lines,
        minIf(applications.recorded_at, applications.state = 'applied') as applied_at,
        maxIf(applications.lines, applications.state = 'withdrawn') as objects_withdrawn

    from applications

    inner join tables
        on applications.model = tables.table_name
        and applications.table_uuid = tables.table_uuid

    where applications.state in ('applied', 'withdrawn')

    group by
        table_name,
        load_id

    having countIf(applications.state = 'applied') > 0

)

select * from applied_loads
