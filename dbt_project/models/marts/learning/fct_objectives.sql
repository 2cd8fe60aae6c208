with

-- One row per attempt and objective.
attempts as (

    select
        section_id,
        course_id,
        learner_id,
        activity_id,
        attempt_order,
        is_correct,
        hints,
        arrayJoin(
            arrayDistinct(
                arrayMap(
                    item -> if(startsWith(item, '"'), JSONExtractString(item), item),
                    JSONExtractArrayRaw(coalesce(attached_objectives, ''))
                )
            )
        ) as objective_id

    from {{ ref('int_part_attempts').render() }}

),

learner_activities as (

    select
        section_id,
        course_id,
        objective_id,
        learner_id,
        activity_id,
        count() as attempts,
        countIf(is_correct) as correct,
        sum(attempts.hints) as hints,
        argMin(is_correct, attempt_order) as first_try_correct,
        max(is_correct) as eventually_correct

    from attempts

    group by
        section_id,
        course_id,
        objective_id,
        learner_id,
        activity_id

),

objectives as (

    select
        section_id,
        course_id,
        objective_id,
        uniqExact(learner_id) as learners,
        uniqExact(activity_id) as activities,
        sum(learner_activities.attempts) as attempts,
        avg(first_try_correct) as first_try_correct_share,
        avg(eventually_correct) as eventually_correct_share,
        (
            sum(learner_activities.hints)
            + sum(learner_activities.attempts)
            - sum(learner_activities.correct)
        ) / sum(learner_activities.attempts) as relative_difficulty

    from learner_activities

    group by
        section_id,
        course_id,
        objective_id

)

select * from objectives
