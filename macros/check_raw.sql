{#- Before a run changes anything, stop it if the raw database is not as the loader of this release
    makes it, or if rows of it are hidden from the user that dbt runs as. Tests change nothing, and
    unit tests need no raw database. -#}
{% macro check_raw() %}
    {%- if execute and flags.WHICH != 'test' -%}
        {%- set raw = source('xapi_raw', 'loads').schema -%}
        {%- set needed = ['statements.line', 'loads.forced', 'loads.commit_number', 'committed_objects.status'] -%}
        {%- set found = run_query(
            "select concat(table, '.', name) from system.columns where database = '" ~ raw ~ "'"
        ).rows | map(attribute=0) | list -%}
        {%- set missing = needed | reject('in', found) | list -%}
        {%- if missing -%}
            {{ exceptions.raise_compiler_error(
                'the database ' ~ raw ~ ' is missing, was made by an earlier release, or may not be read ('
                ~ 'no ' ~ missing | join(', ') ~ '). Run xapi-elt init, then the same command again. Nothing was done'
            ) }}
        {%- endif -%}
        {%- for name in ['loads', 'statements'] -%}
            {% do check_visible_rows(api.Relation.create(schema=raw, identifier=name, type='table')) %}
        {%- endfor -%}
    {%- endif -%}
{% endmacro %}
