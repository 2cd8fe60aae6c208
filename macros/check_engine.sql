{#- Stop a run whose user has settings that could make it see other rows than there are, before it
    touches anything. The loader overrules these with every statement; the many statements of a
    dbt run cannot, so here they are refused. -#}
{% macro check_engine() %}
    {%- if execute -%}
        {%- set accepted = safe_settings() -%}
        {#- What hides answers cannot be seen in system.settings: a query has used it up. -#}
        {%- set rows = run_query('select number from numbers(1000)').rows | length -%}
        {%- if rows != 1000 -%}
            {{ exceptions.raise_compiler_error(
                'settings of the user hide answers (' ~ rows ~ ' rows of 1000): limit, offset or '
                ~ 'additional_result_filter; remove it from its settings profile; nothing was done'
            ) }}
        {%- endif -%}
        {%- set answer = run_query("
            select version(), arrayStringConcat(arraySort(groupArray(concat(name, '=', value))), '\n')
            from system.settings
            where name in ('" ~ accepted | join("', '") ~ "')
            settings
                query_cache_nondeterministic_function_handling = 'ignore',
                query_cache_system_table_handling = 'ignore'
        ").rows -%}
        {%- set parts = answer[0][0].split('.') -%}
        {%- if (parts[0] | int, parts[1] | int) < (25, 8) -%}
            {{ exceptions.raise_compiler_error(
                'ClickHouse ' ~ answer[0][0] ~ ' is too old; accepted: 25.8 or newer; nothing was done'
            ) }}
        {%- endif -%}
        {%- set free = run_query('select filesystemAvailable()').rows[0][0] | int -%}
        {%- if free < least_room() -%}
            {{ exceptions.raise_compiler_error(
                free // 1048576 ~ ' MiB are free on the disk of ClickHouse, accepted: '
                ~ least_room() // 1048576 ~ ' MiB or more; make room; nothing was done'
            ) }}
        {%- endif -%}
        {%- set wrong = [] -%}
        {%- for line in answer[0][1].split('\n') -%}
            {%- set name, _, value = line.partition('=') -%}
            {%- if value != accepted[name] -%}
                {% do wrong.append(name ~ " is '" ~ value ~ "', accepted: '" ~ accepted[name] ~ "'") %}
            {%- endif -%}
        {%- endfor -%}
        {%- if wrong -%}
            {{ exceptions.raise_compiler_error(
                'settings of the user could change what dbt reads: ' ~ wrong | join('; ')
                ~ '; remove them from its settings profile, or give dbt a user of its own; nothing was done'
            ) }}
        {%- endif -%}
    {%- endif -%}
{% endmacro %}

{#- Bytes of the disk that inserts leave free and a run needs at its start: on a full disk
    ClickHouse (seen with 26.9) calls CREATE and ALTER done, leaves an empty definition behind, and
    does not start with it any more. -#}
{% macro least_room() %}{{ return(67108864) }}{% endmacro %}

{#- What settings must be for dbt; the same as in loader/clickhouse/safety.py, which says why. -#}
{% macro safe_settings() %}
    {{ return({
        'read_overflow_mode': 'throw',
        'result_overflow_mode': 'throw',
        'timeout_overflow_mode': 'throw',
        'group_by_overflow_mode': 'throw',
        'join_overflow_mode': 'throw',
        'set_overflow_mode': 'throw',
        'sort_overflow_mode': 'throw',
        'distinct_overflow_mode': 'throw',
        'transfer_overflow_mode': 'throw',
        'read_overflow_mode_leaf': 'throw',
        'timeout_overflow_mode_leaf': 'throw',
        'additional_table_filters': '{}',
        'additional_result_filter': '',
        'partial_result_on_first_cancel': '0',
        'apply_deleted_mask': '1',
        'use_query_cache': '0',
        'allow_experimental_parallel_reading_from_replicas': '0',
        'insert_deduplication_token': '',
        'data_type_default_nullable': '0',
        'empty_result_for_aggregation_by_empty_set': '0',
        'aggregate_functions_null_for_empty': '0',
        'join_default_strictness': 'ALL',
        'join_use_nulls': '0',
        'transform_null_in': '0',
        'group_by_use_nulls': '0',
        'final': '0',
        'allow_experimental_analyzer': '1',
        'format_display_secrets_in_show_and_select': '0',
    }) }}
{% endmacro %}
