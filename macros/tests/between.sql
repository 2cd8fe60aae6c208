{#- No value is outside the bounds, which are constants or expressions over the row. NULL passes,
    and so does a value whose bound is NULL. -#}
{% test between(model, column_name, lowest, highest) %}

select *

from {{ model }}

where {{ column_name }} < {{ lowest }}
    or {{ column_name }} > {{ highest }}

{% endtest %}
