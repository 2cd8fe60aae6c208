-- What there is of each section, and of each course of statements without a section. The
-- fingerprint changes whenever an event or a figure of the section does.
with

events as (

    select
        section_id,
        if(section_id = 0, course_id, '') as course,
        count() as events,
        uniqExact(learner_id) as learners,
        countIf(family = 'video' and verb = 'played') as plays,
        countIf(family = 'page_viewed') as page_views,
        countIf(family = 'part_attempt') as answers,
        min(timestamp) as first_event_at,
        max(timestamp) as last_event_at,
        max(loaded_at) as last_load_at,
        groupBitXor(cityHash64(event_id, load_id)) as fingerprint
    from ops_events
    group by
        section_id,
        course

),

mart_rows as (

    select section_id, course_id, learner_id, events_hash from fct_learner_videos
    union all
    select section_id, course_id, learner_id, events_hash from fct_learner_parts
    union all
    select section_id, course_id, learner_id, events_hash from fct_learner_pages

),

marts as (

    select
        section_id,
        if(section_id = 0, course_id, '') as course,
        groupBitXor(cityHash64(learner_id, events_hash)) as fingerprint
    from mart_rows
    group by
        section_id,
        course

)

select
    events.section_id as section_id,
    events.course as course_id,
    events.events as events,
    events.learners as learners,
    events.plays as plays,
    events.page_views as page_views,
    events.answers as answers,
    events.first_event_at as first_event_at,
    events.last_event_at as last_event_at,
    events.last_load_at as last_load_at,
    toString(cityHash64(events.events, events.fingerprint, marts.fingerprint)) as fingerprint
from events
left join marts
    on events.section_id = marts.section_id
    and events.course = marts.course
order by
    section_id = 0,
    section_id,
    course_id
