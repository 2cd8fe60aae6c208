{#- A table engine for the target: on a cluster its replicated kind. -#}
{% macro engine_name(name) -%}
    {{ 'Replicated' if target.get('cluster') }}{{ name }}
{%- endmacro %}

{#- 'on cluster ...' where the target is one, else nothing. -#}
{% macro cluster_clause() -%}
    {%- set cluster = adapter.get_clickhouse_cluster_name() -%}
    {{ ' on cluster ' ~ cluster ~ ' ' if cluster else '' }}
{%- endmacro %}

{#- How many young parts of like size ClickHouse waits for before it merges them; with its own 5,
    merges took a tenth of the processor of a transform. Parts that grow older merge all the same. -#}
{% macro young_parts_to_merge() %}{{ return(12) }}{% endmacro %}
