{#- How every event table is stored. A query for a section reads one granule per month at least,
    and an increment finds the rows that it could double by its sections and times.
    Replacing: a row that got in twice all the same disappears when parts merge. What an insert
    writes is small for each month, and compact: a file for all columns, not two for each. -#}
{% macro event_table_config() %}
    {{ config(
        engine = engine_name('ReplacingMergeTree'),
        order_by = '(section_id, course_id, timestamp, event_id)',
        partition_by = 'toYYYYMM(timestamp)',
        row_key = 'event_id',
        key_scope = ['section_id', 'timestamp'],
        loads_from = 'int_xapi__statements',
        settings = {
            'min_bytes_for_wide_part': 67108864,
            'merge_selector_base': young_parts_to_merge(),
        },
    ) }}
{% endmacro %}

{#- What every event table says of an event: who, where, and which line it comes from. Grouping by
    verb or course is three to five times as fast in LowCardinality. -#}
{% macro event_keys() %}
    event_id,
    assumeNotNull(timestamp) as timestamp,
    toLowCardinality(verb) as verb,
    assumeNotNull(user_id) as user_id,
    home_page,
    section_id,
    toLowCardinality(course_id) as course_id,
    project_id,
    publication_id,
    page_id,
    page_attempt_guid,
    page_attempt_number
{%- endmacro %}

{% macro event_lineage() %}
    session_id,
    registration,
    statement_id,
    load_id,
    source_path,
    source_line,
    loaded_at
{%- endmacro %}

{#- Which activity was attempted. -#}
{% macro activity_attempt_keys() %}
    activity_attempt_guid,
    activity_attempt_number,
    activity_id,
    activity_revision_id
{%- endmacro %}

{#- How an attempt was graded. -#}
{% macro attempt_grade() %}
    score,
    out_of,
    scaled_score,
    success,
    completion
{%- endmacro %}
