with

learner_events as (

    select * from {{ ref('int_learner_events').render() }}

),

section_hours as (

    select
        section_id,
        course_id,
        toDayOfWeek(toTimeZone(timestamp, {{ time_zone() }})) as weekday,
        toHour(toTimeZone(timestamp, {{ time_zone() }})) as hour,
        uniqExact(learner_id) as learners,
        count() as events

    from learner_events

    group by
        section_id,
        course_id,
        weekday,
        hour

)

select * from section_hours
