{#- What the event tables' configs have in common, besides engine, order and partition:

    row_key, key_scope  an increment searches for the event ids of its rows in their hours: a repeat may
                        name another section or millisecond, but no other hour (identity.sql)
    can_be_voided       a row leaves when a statement voids it
    indexes             a run of a mart finds the rows of new loads by it, in a table that is ordered by
                        section
    settings            an insert writes little into each month: a compact part keeps all columns
                        in one file, a wide one has two files for each column

    The engine is a ReplacingMergeTree so that merges remove a row that was inserted twice after
    all. -#}
{% macro event_table_config() %}
    {{ return({
        'row_key': 'event_id',
        'key_scope': 'toStartOfHour(timestamp)',
        'can_be_voided': true,
        'loads_from': 'int_xapi__statements',
        'indexes': [{'name': 'by_load', 'definition': 'load_id type bloom_filter granularity 1'}],
        'settings': {
            'min_bytes_for_wide_part': 67108864,
            'merge_selector_base': young_parts_to_merge(),
        },
    }) }}
{% endmacro %}

{#- The event tables: their models, by family. -#}
{% macro event_tables() %}
    {%- set tables = {} -%}
    {%- for family in var('event_families') -%}
        {% do tables.update({family: 'voided_statements' if family == 'voiding' else family ~ '_events'}) %}
    {%- endfor -%}
    {{ return(tables) }}
{% endmacro %}

{#- The table that holds the rows of a family, as SQL. -#}
{% macro table_of_family(family) -%}
    transform(
        toString({{ family }}),
        ['rejected', '{{ event_tables().keys() | join("', '") }}'],
        ['rejected_statements', '{{ event_tables().values() | join("', '") }}'],
        ''
    )
{%- endmacro %}

{#- The families of lines without a statement, as SQL strings. -#}
{% macro families_without_statement() -%}'rejected', 'blank', 'erased'{%- endmacro %}

{#- The families whose lines are no rows of an event table, as SQL strings. -#}
{% macro families_without_events() -%}{{ families_without_statement() }}, 'other'{%- endmacro %}

{#- Verbs of video events that are expected, as SQL strings. -#}
{% macro known_video_verbs() -%}
    'played', 'paused', 'seeked', 'completed', 'initialized', 'interacted', 'terminated', 'experienced',
    'downloaded', 'watched', 'answered'
{%- endmacro %}

{#- The first columns of every event table: which event, who, where. LowCardinality makes grouping
    by verb or course three to five times as fast. -#}
{% macro event_keys() %}
    event_id,
    assumeNotNull(timestamp) as timestamp,
    toLowCardinality(verb) as verb,
    assumeNotNull(user_id) as user_id,
    home_page,
    assumeNotNull(learner_id) as learner_id,
    section_id,
    toLowCardinality(course_id) as course_id,
    project_id,
    publication_id,
    page_id,
    page_attempt_guid,
    page_attempt_number,
    enrollment_id
{%- endmacro %}

{#- The last columns of every event table: session, ids, and which line the event comes from. -#}
{% macro event_lineage() %}
    session_id,
    registration,
    statement_id,
    duration_seconds,
    load_id,
    source_path,
    source_line,
    source_item,
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
