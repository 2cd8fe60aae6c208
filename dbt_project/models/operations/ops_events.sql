with

{% for family, table in event_tables().items() %}
{{ table }} as (

    select
        '{{ family }}' as family,
        *,
        _partition_id as partition_id

    from {{ ref(table).render() }}

),

{% endfor %}
events as (

    {% for table in event_tables().values() %}
    select
        family,
        event_id,
        timestamp,
        verb,
        user_id,
        home_page,
        learner_id,
        section_id,
        course_id,
        statement_id,
        load_id,
        source_path,
        source_line,
        source_item,
        loaded_at,
        partition_id

    from {{ table }}

    {% if not loop.last %}
    union all

    {% endif %}
    {% endfor %}
)

select * from events
