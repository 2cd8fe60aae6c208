{#- No value exceeds the bound, a constant or an expression over the row. NULL passes, and so does a
    value whose bound is NULL. -#}
{% test at_most(model, column_name, highest) %}

select *

from {{ model }}

where {{ column_name }} > {{ highest }}

{% endtest %}
