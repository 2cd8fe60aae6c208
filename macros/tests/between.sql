{#- No value lies outside the bounds, which are constants or expressions over the row. What is NULL
    or has no bound passes. -#}
{% test between(model, column_name, lowest, highest) %}

select *

from {{ model }}

where {{ column_name }} < {{ lowest }}
    or {{ column_name }} > {{ highest }}

{% endtest %}
