{#- What every event table says of an event: who, where, and which line it comes from. -#}
{% macro event_keys() %}
    event_id,
    assumeNotNull(timestamp) as timestamp,
    verb,
    assumeNotNull(user_id) as user_id,
    home_page,
    section_id,
    course_id,
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
