{#- No value exceeds the bound, a constant or an expression over the row. What is NULL or has no
    bound passes. -#}
{% test at_most(model, column_name, highest) %}

select *

from {{ model }}

where {{ column_name }} > {{ highest }}

{% endtest %}
