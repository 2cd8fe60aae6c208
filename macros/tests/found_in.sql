{#- Every value, except NULL, is in a column of another table. (dbt-clickhouse's `relationships`
    ends with a `settings` clause, after which dbt cannot append `limit`.) -#}
{% test found_in(model, column_name, to, field) %}

select {{ column_name }}

from {{ model }}

where {{ column_name }} is not null
    and {{ column_name }} not in (
        select {{ field }}
        from {{ to }}
        where {{ field }} is not null
    )

{% endtest %}
