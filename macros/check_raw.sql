{#- Before a run changes anything, stop it if the raw database is not as the loader of this release
    makes it, or if rows of a table that it reads or changes are hidden from the user that dbt runs
    as. Tests change nothing, and unit tests need no raw database. -#}
{% macro check_raw() %}
    {%- if execute and flags.WHICH != 'test' -%}
        {%- set raw = source('xapi_raw', 'loads').schema -%}
        {%- set needed = [
            'statements.line', 'loads.forced', 'loads.commit_number', 'committed_objects.status',
            'learner_key.first_half', 'erasure_key.first_half', 'erased_learners.identity_hash',
            'erasure_requests.user_id', 'expired_loads.load_id', 'committed_objects of ' ~ raw,
        ] -%}
        {#- A view keeps the name that its database had when the view was made. -#}
        {%- set found = run_query("
            select concat(table, '.', name) from system.columns where database = '" ~ raw ~ "'
            union all
            select 'committed_objects of " ~ raw ~ "' from system.tables
            where database = '" ~ raw ~ "' and name = 'committed_objects'
                and position(replaceAll(as_select, '`', ''), ' " ~ raw ~ ".loads ') > 0
        ").rows | map(attribute=0) | list -%}
        {%- set missing = needed | reject('in', found) | list -%}
        {%- if found | length == 0 -%}
            {#- Fails, as a user without rights sees no columns either; ClickHouse's error says which of
                the two it is, and which right is missing. -#}
            {% do log('No column of ' ~ raw ~ ' is visible. If it does not exist: xapi-elt init; if a right '
                ~ 'is missing: xapi-elt grants --role dbt', info=true) %}
            {% do run_query('select 1 from `' ~ raw ~ '`.loads limit 0') %}
        {%- endif -%}
        {%- if missing -%}
            {{ exceptions.raise_compiler_error(
                'the database ' ~ raw ~ ' is missing, was made by an earlier release, or was renamed ('
                ~ 'no ' ~ missing | join(', ') ~ '). Run xapi-elt init, then the same command again. Nothing was done'
            ) }}
        {%- endif -%}
        {% do check_all_visible_rows(raw) %}
    {%- endif -%}
{% endmacro %}

{#- `check_visible_rows` of the raw tables, the bookkeeping and the tables that follow the ledger.
    One query counts them all, so that a run in which nothing is hidden needs no more. -#}
{% macro check_all_visible_rows(raw) %}
    {%- set names = [
        (raw, 'loads'), (raw, 'statements'), (raw, 'expired_loads'), (raw, 'erased_learners'), (raw, 'erasure_key'),
        (target.schema, 'elt_tables'), (target.schema, 'elt_applied_loads'),
    ] -%}
    {%- for node in graph.nodes.values() if node.config.materialized == 'ledger_incremental' -%}
        {% do names.append((node.schema, node.alias)) %}
    {%- endfor -%}
    {%- set counts = [] -%}
    {%- for row in run_query(
        "select database, name from system.tables where engine like '%MergeTree' and (database, name) in ("
        ~ names | map('string') | join(', ') ~ ')'
    ).rows -%}
        {% do counts.append(
            "select '" ~ row[0] ~ "' as database, '" ~ row[1] ~ "' as name, count() as visible from `"
            ~ row[0] ~ '`.`' ~ row[1] ~ '`'
        ) %}
    {%- endfor -%}
    {%- for row in run_query(
        'select counted.database, counted.name from (' ~ counts | join(' union all ') ~ ') as counted '
        ~ 'inner join system.tables as stored on counted.database = stored.database and counted.name = stored.name '
        ~ 'where stored.total_rows > counted.visible settings apply_deleted_mask = 0, optimize_use_projections = 0'
    ).rows -%}
        {% do check_visible_rows(api.Relation.create(schema=row[0], identifier=row[1], type='table')) %}
    {%- endfor -%}
{% endmacro %}
