with

statements as (

    select * from {{ ref('int_xapi__statements').render() }}

),

lines_of_events as (

    select *

    from statements

    where family not in ({{ families_without_events() }})

),

repeated_ids as (

    select event_id

    from lines_of_events

    group by event_id

    having count() > 1

),

repeated_events as (

    select
        event_id,
        any(family) as event_family,
        any(section_id) as event_section_id,
        any(timestamp) as event_timestamp,
        count() as lines,
        uniqExact(source_path) as objects,
        uniqExact(load_id) as loads,
        min(loaded_at) as first_loaded_at,
        max(loaded_at) as last_loaded_at,
        arraySort(groupArray((loaded_at, source_path, source_line))) as commits_and_places

    from lines_of_events

    where event_id in (select * from repeated_ids)

    group by event_id

),

duplicates as (

    select
        event_id,
        event_family as family,
        event_section_id as section_id,
        event_timestamp as timestamp,
        lines,
        objects,
        loads,
        first_loaded_at,
        last_loaded_at,
        arrayMap(
            place -> concat(tupleElement(place, 2), ':', toString(tupleElement(place, 3))),
            arraySlice(commits_and_places, 1, 10)
        ) as places

    from repeated_events

)

select * from duplicates
