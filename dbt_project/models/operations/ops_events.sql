with

{% for family in var('event_families') %}
{{ family }}_events as (

    select
        '{{ family }}' as family,
        *,
        _partition_id as partition_id

    from {{ ref(family ~ '_events').render() }}

),

{% endfor %}
events as (

    {% for family in var('event_families') %}
    select
        family,
        event_id,
        timestamp,
        verb,
        user_id,
        section_id,
        course_id,
        statement_id,
        load_id,
        source_path,
        source_line,
        loaded_at,
        partition_id

    from {{ family }}_events

    {% if not loop.last %}
    union all

    {% endif %}
    {% endfor %}
)

select * from events
