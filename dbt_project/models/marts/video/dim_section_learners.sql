with

roster as (

    select * from {{ ref('int_section_learners').render() }}

),

rosters as (

    select distinct
        section_id,
        course_id,
        true as has_roster

    from roster

),

active as (

    select distinct
        section_id,
        course_id,
        learner_id

    from {{ ref('int_learner_events').render() }}

),

everybody as (

    select
        section_id,
        course_id,
        learner_id

    from roster

    union distinct

    select
        section_id,
        course_id,
        learner_id

    from active

),

section_learners as (

    select
        everybody.section_id as section_id,
        everybody.course_id as course_id,
        everybody.learner_id as learner_id,
        cast(
            if(rosters.has_roster, notEmpty(roster.learner_id), null) as Nullable(Bool)
        ) as is_enrolled,
        toBool(notEmpty(active.learner_id)) as is_active

    from everybody

    left join rosters
        on everybody.section_id = rosters.section_id
        and everybody.course_id = rosters.course_id

    left join roster
        on everybody.section_id = roster.section_id
        and everybody.course_id = roster.course_id
        and everybody.learner_id = roster.learner_id

    left join active
        on everybody.section_id = active.section_id
        and everybody.course_id = active.course_id
        and everybody.learner_id = active.learner_id

)

select * from section_learners
