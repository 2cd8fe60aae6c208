with

statements as (

    select * from {{ ref('int_xapi__statements').render() }}

),

described as (

    select
        *,
        coalesce(home_page, '') as producer,
        unread_session_key as session_key,
        family = 'video' and verb not in ({{ known_video_verbs() }}) as has_unknown_verb

    from statements

    where family not in ('blank', 'erased')

),

producers as (

    select
        producer as home_page,
        family,
        reject_reason,
        count() as statements,
        uniqExact(learner_id) as learners,
        countIf(section_id = 0 and has_torus_extensions) / statements as share_without_section,
        countIf(session_id is null and session_key != '') / statements
            as share_with_unread_session,
        anyIf(session_key, session_key != '') as unread_session_key,
        countIf(has_unknown_verb) / statements as share_of_unknown_verbs,
        arraySort(groupUniqArrayIf(10)(verb, has_unknown_verb)) as unknown_verbs,
        min(loaded_at) as first_seen_at,
        max(loaded_at) as last_seen_at,
        argMax((source_path, source_line), loaded_at) as example

    from described

    group by
        producer,
        family,
        reject_reason

)

select
    * except (example),
    tupleElement(example, 1) as example_source_path,
    tupleElement(example, 2) as example_source_line

from producers
