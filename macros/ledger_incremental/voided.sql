{#- Voided events: a statement with the verb `voided` names the id of another one, which then has no
    effect, whichever of the two came first. The statement store keeps both; the event tables have
    no row of a voided event. A voiding cannot be voided. -#}

{#- Condition on rows with an event: its statement id was voided.
    voidings  condition on the statements that void; by default all that the store holds -#}
{% macro is_voided(voidings='true') -%}
    (lower(coalesce(statement_id, '')) in ({{ voided_ids(model_relation(statement_store()), voidings) }}))
{%- endmacro %}

{#- The same for rows of the statement store and of ops_events, which hold voidings, too. -#}
{% macro is_voided_statement(store) -%}
    family not in ('voiding', {{ families_without_statement() }})
    and lower(coalesce(statement_id, '')) in ({{ voided_ids(store) }})
{%- endmacro %}

{#- The voided statement ids, as a subquery.
    store  the statement store -#}
{% macro voided_ids(store, voidings='true') -%}
    select lower(assumeNotNull(object_id)) from {{ store }}
    where family = 'voiding' and object_id != '' and {{ voidings }}
{%- endmacro %}

{#- How many voidings the claimed loads bring, as a subquery. -#}
{% macro count_of_voidings(table, slices) -%}
    (select count() from ({{ voided_ids(
        model_relation(statement_store()), 'load_id in (' ~ claimed_loads(table, slices) ~ ')'
    ) }}))
{%- endmacro %}

{#- The statement ids that superseded objects voided, as a subquery. The store has removed these lines
    already, so they are read from the raw lines. -#}
{% macro superseded_voidings(table, slices) -%}
    select lower(JSONExtractString(item.3, 'object', 'id'))
    from (
        select arrayJoin({{ items_of_line('line') }}) as item
        from {{ source('xapi_raw', 'statements') }}
        where load_id in (select load_id from ({{ superseded_objects(table, slices) }}))
            and (load_id, {{ source_path() }}) in ({{ superseded_objects(table, slices) }})
            and position(line, 'voided') > 0
    )
    where position(JSONExtractString(item.3, 'verb', 'id'), 'voided') > 0
{%- endmacro %}
