{#- What the event tables' configs have in common, besides engine, order and partition:

    row_key, key_scope  an increment searches for existing rows by section and time, which the
                        sorting key finds, and compares their event ids
    settings            an insert writes little into each month: a compact part keeps all columns
                        in one file, a wide one has two files for each column

    The engine is a ReplacingMergeTree so that merges remove a row that was inserted twice after
    all. -#}
{% macro event_table_config() %}
    {{ return({
        'row_key': 'event_id',
        'key_scope': ['section_id', 'timestamp'],
        'loads_from': 'int_xapi__statements',
        'settings': {
            'min_bytes_for_wide_part': 67108864,
            'merge_selector_base': young_parts_to_merge(),
        },
    }) }}
{% endmacro %}

{#- The first columns of every event table: which event, who, where. LowCardinality makes grouping
    by verb or course three to five times as fast. -#}
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

{#- The last columns of every event table: session, ids, and which line the event comes from. -#}
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
