with

tables_of_the_server as (

    select
        name,
        total_rows,
        total_bytes,
        extract(comment, '\\[table ([0-9a-f-]+)\\]') as table_id

    from system.tables

    where database = '{{ target.schema }}'

),

-- What dbt recorded when it last changed each table.
recorded as (

    select
        model,
        toString(table_id) as table_id,
        argMax(applied_under, version) as applied_under,
        argMax(table_rows, version) as table_rows

    from {{ source('bookkeeping', 'elt_tables').render() }}

    group by
        model,
        table_id

),

names as (

    select
        '{{ ref("int_xapi__statements").identifier }}' as table_name,
        '' as family

    {% for family, table in event_tables().items() %}
    union all

    select
        '{{ ref(table).identifier }}' as table_name,
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
        recorded.applied_under as table_id,
        coalesce(tables_of_the_server.total_rows, 0) as row_count,
        coalesce(tables_of_the_server.total_bytes, 0) as bytes,
        greatest(0, toInt64(recorded.table_rows) - toInt64(row_count)) as missing_rows

    from names

    left join tables_of_the_server on names.table_name = tables_of_the_server.name

    left join recorded
        on names.table_name = recorded.model
        and tables_of_the_server.table_id = recorded.table_id

)

select * from tables
