{#- By which rules the rows of a table were made: the version of the identity rule, and the parse (a
    hash of the SQL of the staging view, and one of the key that makes learner_id). Rows made by
    different rules must not meet in one table: the same event could have two ids.

    A run compares the parse before it claims a table. Another release, or `rotate-key`, may change it
    after that, also between two slices. So each statement that inserts or records rows compares it
    again, and fails. -#}

{#- The parse: the hash of the staging view as it is in the database, and of the key. -#}
{% macro parse_of_view() %}
    {{ return(definition_of_view(model_relation('stg_xapi__statements')) ~ ' ' ~ present_key()) }}
{% endmacro %}

{#- Condition of a statement that inserts or records rows of a table: the parse is still that of the
    run. ClickHouse evaluates it after it has resolved the staging view that the statement reads. -#}
{% macro parse_is_the_same(table) -%}
    throwIf(
        ifNull(concat({{ hash_of_view(model_relation('stg_xapi__statements')) }}, ' ', {{ key_fingerprint() }}), '')
            != '{{ table.parse }}',
        'the staging view or the key of the pseudonyms was replaced while this run changed {{ table.relation }}: by another release, other variables or rotate-key. Rows of two parses are not mixed. Let one release run at a time, then run the same command again'
    ) = 0
{%- endmacro %}

{% macro present_key() %}{{ return(run_statement('select ' ~ key_fingerprint()).rows[0][0]) }}{% endmacro %}

{#- Stop a run at its start if a table was made with another key of the pseudonyms: marts would join old
    learner ids with new ones. A full refresh of all tables makes all of them new. -#}
{% macro check_learner_key() %}
    {%- if execute and flags.WHICH in ('run', 'build') -%}
        {%- if present_key() is none -%}
            {{ exceptions.raise_compiler_error(
                source('xapi_raw', 'learner_key') ~ ' is empty: restore it, or let xapi-elt init make another key, by which '
                ~ 'every learner_id becomes another one. Nothing was done'
            ) }}
        {%- endif -%}
        {%- set tables = run_statement(tables_of_other_key()).rows | map(attribute=0) | list -%}
        {%- if tables and not flags.FULL_REFRESH -%}
            {{ exceptions.raise_compiler_error(
                'the key of the pseudonyms is another one than that by which ' ~ tables | join(', ') ~ ' were made: it was '
                ~ 'rotated or lost. Give all tables the new learner ids: dbt run --full-refresh; or restore the key. '
                ~ 'Nothing was done'
            ) }}
        {%- endif -%}
    {%- endif -%}
{% endmacro %}

{#- Select: names of the tables whose learner ids were made with another key. -#}
{% macro tables_of_other_key() -%}
    {%- set schemas = [target.schema] -%}
    {%- if execute -%}
        {%- for node in graph.nodes.values() if node.config.materialized == 'ledger_incremental' -%}
            {% do schemas.append(node.schema) %}
        {%- endfor -%}
    {%- endif -%}
    select known.model as table_name
    from (
        select model, toString(table_id) as id, argMax(parse, version) as last_parse
        from {{ elt_tables() }}
        group by model, id
    ) as known
    inner join (
        select extract(comment, '\\[table ([0-9a-f-]+)\\]') as id
        from system.tables
        where database in ('{{ schemas | unique | join("', '") }}')
    ) as stored on stored.id = known.id
    where position(known.last_parse, ' ') > 0
        and splitByChar(' ', known.last_parse)[-1] != {{ key_fingerprint() }}
    order by table_name
{%- endmacro %}

{#- Read the state of a table, and stop if rows made by other rules would meet in it. Sets
    table.parse, the parse of the rows to come.
    full     whether the table is filled again -#}
{% macro check_rules(table, full=false) %}
    {%- set upstream = table.upstream -%}
    {%- if not upstream -%}
        {%- set parse = parse_of_view() -%}
    {%- else -%}
        {%- set parse = upstream.parse -%}
        {%- if upstream.made_by.identity_rule != identity_rule() or upstream.made_by.parse != parse -%}
            {% do stop_for_rules(upstream.relation) %}
        {%- endif -%}
    {%- endif -%}
    {%- set made_by = table_state(table) -%}
    {%- if not made_by.id and not full and load_relation(table.relation) is not none -%}
        {{ exceptions.raise_compiler_error(
            table.relation ~ ' was made by an earlier release, or not by this project. To fill it again: '
            ~ 'dbt run --full-refresh. No table was changed'
        ) }}
    {%- endif -%}
    {%- if made_by.id and not full -%}
        {%- if made_by.parse != parse or made_by.identity_rule != identity_rule() -%}
            {% do stop_for_rules(table.relation) %}
        {%- endif -%}
        {% do table.update(made_by) %}
    {%- endif -%}
    {% do table.update({'parse': parse, 'made_by': made_by}) %}
{% endmacro %}

{% macro stop_for_rules(relation) %}
    {{ exceptions.raise_compiler_error(
        'the rows of ' ~ relation ~ ' were made by other rules (parse or event ids) than the project has now. '
        ~ 'Bring all tables up to date: dbt run --full-refresh. No table was changed'
    ) }}
{% endmacro %}
