{#- No text is '' and no UUID is all zeros. A column that cannot hold NULL stores a missing value
    so, and not_null would never fail there. -#}
{% test not_empty(model, column_name) %}

select *

from {{ model }}

where empty({{ column_name }})

{% endtest %}
