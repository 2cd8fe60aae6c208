{#- The engine of a table: on a cluster its replicated variant. -#}
{% macro engine_name(name) -%}
    {{ 'Replicated' if target.get('cluster') }}{{ name }}
{%- endmacro %}

{#- 'on cluster <name>' if the target is a cluster, else nothing. -#}
{% macro cluster_clause() -%}
    {%- set cluster = adapter.get_clickhouse_cluster_name() -%}
    {{ ' on cluster ' ~ cluster ~ ' ' if cluster else '' }}
{%- endmacro %}

{#- How many new parts of similar size there must be before ClickHouse merges them. With its
    default, 5, merges took a tenth of the CPU time of a transform. Older ones are merged anyway. -#}
{% macro young_parts_to_merge() %}{{ return(12) }}{% endmacro %}
