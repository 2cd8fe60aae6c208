{#- The grain: no two rows agree in all of the columns. A table sorted by them is read in that
    order, which takes half the memory. -#}
{% test one_row_per(model, columns) %}

select
    {{ columns | join(', ') }},
    count() as copies

from {{ model }}

group by {{ columns | join(', ') }}

having copies > 1

settings optimize_aggregation_in_order = 1

{% endtest %}
