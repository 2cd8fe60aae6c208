{#- The rows of a seed that people may leave out: none before the first `dbt seed`, so that `dbt run`
    alone builds all models. The next run after `dbt seed` reads it. -#}
{% macro rows_of_seed(seed, columns) -%}
    {%- if not execute or seed.is_cte or load_relation(seed) is not none -%}
    select {{ columns | join(', ') }} from {{ seed.render() }}
    {%- else -%}
    select
        {% for column, type in columns.items() -%}
        defaultValueOfTypeName('{{ type }}') as {{ column }}{{ ',' if not loop.last }}
        {% endfor -%}
    where false
    {%- endif -%}
{%- endmacro %}
