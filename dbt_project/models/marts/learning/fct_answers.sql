with

part_attempts as (

    select
        *,
        {{ response_key('response') }} as answer

    from {{ ref('int_part_attempts').render() }}

    where isNotNull(response)

),

first_answers as (

    select
        section_id,
        course_id,
        learner_id,
        activity_id,
        part_id,
        {{ response_key('first_response') }} as answer

    from {{ ref('fct_learner_parts').render() }}

    where isNotNull(first_response)

),

learners_first as (

    select
        section_id,
        course_id,
        activity_id,
        part_id,
        answer,
        count() as learners_first

    from first_answers

    group by
        section_id,
        course_id,
        activity_id,
        part_id,
        answer

),

counted as (

    select
        section_id,
        course_id,
        activity_id,
        part_id,
        answer,
        uniqExact(learner_id) as learners_ever,
        count() as attempts,
        countIf(part_attempts.is_correct) as correct_attempts,
        {{ frequencies('feedback') }} as feedbacks

    from part_attempts

    group by
        section_id,
        course_id,
        activity_id,
        part_id,
        answer

),

answers as (

    select
        counted.section_id as section_id,
        counted.course_id as course_id,
        counted.activity_id as activity_id,
        counted.part_id as part_id,
        counted.answer as response,
        learners_first.learners_first as learners_first,
        counted.learners_ever as learners_ever,
        counted.attempts as attempts,
        toBool(counted.correct_attempts * 2 > counted.attempts) as is_correct,
        {{ most_frequent('counted.feedbacks', 'length(value)') }} as feedback

    from counted

    left join learners_first
        on counted.section_id = learners_first.section_id
        and counted.course_id = learners_first.course_id
        and counted.activity_id = learners_first.activity_id
        and counted.part_id = learners_first.part_id
        and counted.answer = learners_first.answer

)

select * from answers
