{#- Select: the loads with objects whose number of lines is not the expected one. A data test then
    compares only the objects of these loads, because a load has up to thousands of objects. Each
    line counts with the hash of its object, so that a line too few in one object and a line too
    many in another do not cancel out.

    said    CTE of the expected numbers: load_id, the columns of `object`, `lines`
    found   CTE with one row for each line: load_id, the columns of `object`
    object  columns that identify an object -#}
{% macro loads_that_differ(said, found, object) %}
    select load_id

    from (
        select
            load_id,
            sum(lines) as lines_said,
            sum(lines * cityHash64({{ object }})) as weight_said,
            0 as lines_found,
            0 as weight_found

        from {{ said }}

        group by load_id

        union all

        select
            load_id,
            0 as lines_said,
            0 as weight_said,
            count() as lines_found,
            sum(cityHash64({{ object }})) as weight_found

        from {{ found }}

        group by load_id
    )

    group by load_id

    having
        sum(lines_said) != sum(lines_found)
        or sum(weight_said) != sum(weight_found)
{% endmacro %}
