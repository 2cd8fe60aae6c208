{#- A table engine for the target: on a cluster its replicated kind. -#}
{% macro engine_name(name) -%}
    {{ 'Replicated' if target.get('cluster') }}{{ name }}
{%- endmacro %}

{#- 'on cluster ...' where the target is one, else nothing. -#}
{% macro cluster_clause() -%}
    {%- set cluster = adapter.get_clickhouse_cluster_name() -%}
    {{ ' on cluster ' ~ cluster ~ ' ' if cluster else '' }}
{%- endmacro %}
