with

tables_of_the_server as (

    select
        name,
        uuid,
        total_rows,
        total_bytes

    from system.tables

    where database = '{{ target.schema }}'

),

-- A table that replaced another one in a rebuild continues its bookkeeping.
continued as (

    select
        table_uuid,
        any(kept_under) as kept_under

    from {{ source('bookkeeping', 'continued_tables').render() }}

    group by table_uuid

),

names as (

    select
        '{{ ref("int_xapi__statements").identifier }}' as table_name,
        '' as family

    {% for family in var('event_families') %}
    union all

    select
        '{{ ref(family ~ "_events").identifier }}' as table_name,
        '{{ family }}' as family

    {% endfor %}
    union all

    select
        '{{ ref("rejected_statements").identifier }}' as table_name,
        'rejected' as family

),

tables as (

    select
        names.table_name as table_name,
        names.family as family,
        coalesce(
            nullIf(continued.kept_under, toUUID('00000000-0000-0000-0000-000000000000')),
            tables_of_the_server.uuid
        ) as table_uuid,
        coalesce(tables_of_the_server.total_rows, 0) as row_count,
        coalesce(tables_of_the_server.total_bytes, 0) as bytes

    from names

    left join tables_of_the_server on names.table_name = tables_of_the_server.name
    left join continued on tables_of_the_server.uuid = continued.table_uuid

)

select * from tables
