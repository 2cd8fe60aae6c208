{#- By which rules the rows of a table were made: the version of the identity rule, and the parse (a
    hash of the SQL of the staging view, and of the key that makes learner_id). Rows made by different rules must not meet in one table:
    the same event could have two ids. -#}

{#- Post-hook of the staging view: write the hash of its SQL into its comment. Comments, white space
    and the name of the database do not count. -#}
{% macro record_parse() %}
    {%- if execute -%}
        {%- set code = modules.re.sub('--[^\n]*|/\\*.*?\\*/', ' ', model.compiled_code) -%}
        {%- set code = modules.re.sub('\\s+', ' ', code) | replace(target.schema ~ '_raw', 'raw') -%}
        {%- set key = run_query('select ' ~ key_fingerprint()).rows[0][0] -%}
        alter table {{ this }} {{ cluster_clause() }} modify comment '[parse {{ local_md5(code | trim ~ key) }}]'
    {%- endif -%}
{% endmacro %}

{#- The parse of the staging view as it is in the database; stops if the view is missing or of a
    release that did not record it. -#}
{% macro parse_of_view() %}
    {%- set view = model_relation('stg_xapi__statements') -%}
    {%- set rows = run_statement("
        select extract(comment, '\\\\[parse ([0-9a-f]+)\\\\]') from system.tables
        where database = '" ~ view.schema ~ "' and name = '" ~ view.identifier ~ "'
    ").rows -%}
    {%- if not rows or not rows[0][0] -%}
        {{ exceptions.raise_compiler_error(
            view ~ ' is missing or of an earlier version of the project; build it: dbt run'
        ) }}
    {%- endif -%}
    {{ return(rows[0][0]) }}
{% endmacro %}

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
            ~ 'dbt run --full-refresh. Nothing was done'
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
        ~ 'Bring all tables up to date: dbt run --full-refresh. Nothing was done'
    ) }}
{% endmacro %}
