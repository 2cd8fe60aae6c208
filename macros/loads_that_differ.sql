{#- The loads whose objects do not have as many lines as is said of them, as a select for a data
    test, which then compares only their objects: a load has up to thousands. Each line weighs the
    hash of its object, so that one too few here and one too many there show, too.

    said    CTE with load_id, the columns of `object` and how many lines each object has: `lines`
    found   CTE with load_id and the columns of `object`, one row for each line
    object  columns that name an object -#}
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
