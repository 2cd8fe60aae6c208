{#- The grain: no two rows have the same values in all of the columns. It ends without a `settings`
    clause, because dbt appends `limit` for `dbt show` and for tests with a limit; the profile sets
    optimize_aggregation_in_order, which halves the memory for a table sorted by these columns. -#}
{% test one_row_per(model, columns) %}

select
    {{ columns | join(', ') }},
    count() as copies

from {{ model }}

group by {{ columns | join(', ') }}

having copies > 1

{% endtest %}
