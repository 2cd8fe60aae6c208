with

applications as (

    select * from {{ source('bookkeeping', 'elt_applied_loads').render() }}

),

tables as (

    select * from {{ ref('ops_tables').render() }}

),

-- A table that was dropped or filled again leaves rows behind under its own id.
applied_loads as (

    select
        tables.table_name as table_name,
        applications.load_id as load_id,
        min(applications.committed_at) as load_committed_at,
        max(applications.lines) as load_lines,
        min(applications.recorded_at) as applied_at

    from applications

    inner join tables
        on applications.model = tables.table_name
        and applications.table_id = tables.table_id

    group by
        table_name,
        load_id

)

select * from applied_loads
