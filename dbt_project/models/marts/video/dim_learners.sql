with

{% for family in var('event_families') if family != 'voiding' %}
{{ family }}_learners as (

    select distinct
        learner_id,
        home_page,
        user_id

    from {{ ref(family ~ '_events').render() }}

),

{% endfor %}
names as (

    {% for family in var('event_families') if family != 'voiding' %}
    select * from {{ family }}_learners

    {% if not loop.last %}
    union all

    {% endif %}
    {% endfor %}
),

-- Spellings of one identity may differ in their case.
learners as (

    select
        learner_id,
        min(names.home_page) as home_page,
        min(names.user_id) as user_id

    from names

    group by learner_id

)

select * from learners
