with

events as (

    select * from {{ ref('ops_events').render() }}

),

shared_ids as (

    select statement_id

    from events

    where statement_id != ''

    group by statement_id

    having min(event_id) != max(event_id)

),

id_conflicts as (

    select
        statement_id,
        uniqExact(event_id) as events,
        arraySort(groupUniqArray(family)) as families,
        arraySort(groupUniqArray(verb)) as verbs,
        uniqExact(user_id) as users,
        min(timestamp) as first_event_at,
        max(timestamp) as last_event_at,
        min(loaded_at) as first_seen_at,
        max(loaded_at) as last_seen_at,
        arraySort(groupUniqArray(10)(event_id)) as event_ids

    from events

    where statement_id in (select * from shared_ids)

    group by statement_id

)

select * from id_conflicts
