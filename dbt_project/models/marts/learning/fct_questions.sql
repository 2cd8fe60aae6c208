with

learner_parts as (

    select * from {{ ref('fct_learner_parts').render() }}

),

-- The share of a learner's questions that were answered correctly at the first try.
learners as (

    select
        section_id,
        course_id,
        learner_id,
        avg(first_try_correct) as mean_first_try

    from learner_parts

    group by
        section_id,
        course_id,
        learner_id

),

questions as (

    select
        learner_parts.section_id as section_id,
        learner_parts.course_id as course_id,
        learner_parts.activity_id as activity_id,
        learner_parts.part_id as part_id,
        count() as learners,
        sum(learner_parts.attempts) as attempts,
        avg(learner_parts.first_try_correct) as first_try_correct_share,
        avg(learner_parts.eventually_correct) as eventually_correct_share,
        (
            sum(learner_parts.hints) + sum(learner_parts.attempts) - sum(learner_parts.correct)
        ) / sum(learner_parts.attempts) as relative_difficulty,
        sum(learner_parts.hints) / count() as hints_per_learner,
        corrStable(learner_parts.first_try_correct, learners.mean_first_try) as correlation,
        -- Not a number where all learners did the same.
        if(count() >= 20 and isFinite(correlation), correlation, null) as discrimination

    from learner_parts

    inner join learners
        on learner_parts.section_id = learners.section_id
        and learner_parts.course_id = learners.course_id
        and learner_parts.learner_id = learners.learner_id

    group by
        section_id,
        course_id,
        activity_id,
        part_id

)

select * except (correlation) from questions
