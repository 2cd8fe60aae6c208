{#- What settings must be for dbt. Generated from loader/clickhouse/safety.py, which says why:
    python -m loader.clickhouse.safety > macros/safe_settings.sql -#}
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
