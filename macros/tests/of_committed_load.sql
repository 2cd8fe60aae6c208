{#- The ledger has committed every load in the table. (`relationships` would join each row with each
    object of its load.) -#}
{% test of_committed_load(model, column_name) %}

select distinct {{ column_name }}

from {{ model }}

where {{ column_name }} not in (
    select load_id
    from {{ source('xapi_raw', 'loads') }}
    where outcome = 'committed'
)

{% endtest %}
