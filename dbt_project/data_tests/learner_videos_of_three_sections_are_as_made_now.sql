{#-
    Harm: rows of int_learner_videos are not what the model makes of their events: a change of the
    model did not reach them, or an increment makes other rows than a full build.

    An error: make the rows again with dbt run --full-refresh --select int_learner_videos. Each day the
    test takes three other sections, because it makes their rows from all their events.
-#}

with

stored as (

    select * from {{ ref('int_learner_videos') }} final

),

sections as (

    select section_id

    from stored

    group by section_id

    order by cityHash64(section_id, today())

    limit 3

),

either as (

    select
        * except (version, is_deleted),
        'stored' as made

    from stored

    where
        not is_deleted
        and section_id in (select section_id from sections)

    union all

    select
        *,
        'now' as made

    from {{ ref('int_learner_videos_now') }}

    where section_id in (select section_id from sections)

),

differing as (

    select
        section_id,
        course_id,
        learner_id,
        video_key,
        groupArray(made) as made

    from either

    group by
        section_id,
        course_id,
        learner_id,
        video_key

    having
        count() != 2
        or uniqExact((events, events_hash, sessions, plays, plays_without_end, starts)) != 1
        or uniqExact((completions, first_at, last_at, pieces, last_place)) != 1
        or max(reported_seconds) - min(reported_seconds) > 0.000001
        or max(paired_seconds) - min(paired_seconds) > 0.000001
        or length(groupUniqArrayArray(arrayMap(part -> (part.1, part.2, part.3, part.4), days)))
        != length(any(days))

)

select * from differing
