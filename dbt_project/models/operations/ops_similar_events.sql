with

statements as (

    select * from {{ ref('int_xapi__statements').render() }}

),

events as (

    select
        *,
        cityHash64((learner_id, verb_iri, object_id, timestamp)) as moment

    from statements

    where family not in ({{ families_without_events() }})

),

-- By hash, because there are many events; the last step compares what was hashed.
shared_moments as (

    select moment

    from events

    group by moment

    having min(event_id) != max(event_id)

),

similar_events as (

    select
        learner_id,
        verb_iri,
        object_id,
        timestamp,
        uniqExact(event_id) as events,
        arraySort(groupUniqArray(family)) as families,
        arraySort(groupUniqArray(10)(coalesce(statement_id, ''))) as statement_ids,
        arraySort(groupUniqArray(10)(event_id)) as event_ids,
        min(loaded_at) as first_seen_at,
        max(loaded_at) as last_seen_at

    from events

    where moment in (select * from shared_moments)

    group by
        learner_id,
        verb_iri,
        object_id,
        timestamp

    having events > 1

)

select * from similar_events
