with

learner_pages as (

    select * from {{ ref('fct_learner_pages').render() }}

),

pages as (

    select
        section_id,
        course_id,
        page_id,
        count() as learners,
        sum(learner_pages.views) as views,
        sum(learner_pages.attempts) as attempts,
        avg(best_share) as mean_best_share,
        avg(is_completed) as completed_share,
        -- Of learners who viewed the page first.
        quantileExactInclusiveIf(0.5)(
            dateDiff('millisecond', first_view_at, first_attempt_at) / 60000,
            first_view_at <= first_attempt_at
        ) as median_minutes_to_attempt

    from learner_pages

    group by
        section_id,
        course_id,
        page_id

)

select * from pages
