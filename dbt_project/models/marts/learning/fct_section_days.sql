with

learner_events as (

    select * from {{ ref('int_learner_events').render() }}

),

section_days as (

    select
        section_id,
        course_id,
        toDate(timestamp) as day,
        uniqExact(learner_id) as learners,
        count() as events,
        countIf(family = 'video' and verb = 'played') as plays,
        countIf(family = 'page_viewed') as page_views,
        countIf(family = 'part_attempt') as attempts

    from learner_events

    group by
        section_id,
        course_id,
        day

)

select * from section_days
