with

statements as (

    select * from {{ ref('int_xapi__statements').render() }}

),

verbs_and_types as (

    select
        verb_iri,
        object_type,
        count() as statements,
        uniqExact(event_id) as different_statements,
        uniqExact(user_id) as users,
        uniqExact(section_id) as sections,
        min(timestamp) as first_event_at,
        max(timestamp) as last_event_at,
        min(loaded_at) as first_seen_at,
        max(loaded_at) as last_seen_at,
        argMin((source_path, source_line), loaded_at) as example

    from statements

    where family = 'other'

    group by
        verb_iri,
        object_type

),

other_statements as (

    select
        verb_iri,
        object_type,
        statements,
        different_statements,
        users,
        sections,
        first_event_at,
        last_event_at,
        first_seen_at,
        last_seen_at,
        tupleElement(example, 1) as example_source_path,
        tupleElement(example, 2) as example_source_line

    from verbs_and_types

)

select * from other_statements
