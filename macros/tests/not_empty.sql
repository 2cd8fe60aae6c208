{#- No text is '' and no UUID is all zeros: what a missing value becomes in a column that cannot
    hold NULL, where not_null would never fail. -#}
{% test not_empty(model, column_name) %}

select *

from {{ model }}

where empty({{ column_name }})

{% endtest %}
