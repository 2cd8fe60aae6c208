with

{% for family in var('event_families') if family != 'voiding' %}
{{ family }}_events as (

    select
        '{{ family }}' as family,
        event_id,
        section_id,
        course_id,
        learner_id,
        timestamp,
        verb

    from {{ ref(family ~ '_events').render() }}

),

{% endfor %}
learner_events as (

    {% for family in var('event_families') if family != 'voiding' %}
    select * from {{ family }}_events

    {% if not loop.last %}
    union all

    {% endif %}
    {% endfor %}
)

select * from learner_events
