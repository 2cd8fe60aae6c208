{#- Every load in the table is committed by the ledger. `relationships` would join each row with
    each object of its load. -#}
{% test of_committed_load(model, column_name) %}

select distinct {{ column_name }}

from {{ model }}

where {{ column_name }} not in (
    select load_id
    from {{ source('xapi_raw', 'loads') }}
    where outcome = 'committed'
)

{% endtest %}
