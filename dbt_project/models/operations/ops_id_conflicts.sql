with

statements as (

    select * from {{ ref('int_xapi__statements').render() }}

),

named_statements as (

    select
        lower(assumeNotNull(statement_id)) as lower_id,
        *

    from statements

    where
        family not in ({{ families_without_statement() }})
        and statement_id != ''

),

shared_ids as (

    select lower_id

    from named_statements

    group by lower_id

    having
        min(event_id) != max(event_id)
        or min(cityHash64((learner_id, verb_iri, object_id)))
        != max(cityHash64((learner_id, verb_iri, object_id)))

),

id_conflicts as (

    select
        lower_id as statement_id,
        count() as statements,
        uniqExact(event_id) as events,
        arraySort(groupUniqArray(family)) as families,
        arraySort(groupUniqArray(verb)) as verbs,
        uniqExact(learner_id) as learners,
        min(timestamp) as first_event_at,
        max(timestamp) as last_event_at,
        min(loaded_at) as first_seen_at,
        max(loaded_at) as last_seen_at,
        arraySort(groupUniqArray(10)(event_id)) as event_ids

    from named_statements

    where lower_id in (select * from shared_ids)

    group by lower_id

)

select * from id_conflicts
