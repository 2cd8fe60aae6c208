with

events as (

    select
        section_id,
        course_id,
        learner_id,
        min(timestamp) as first_at,
        max(timestamp) as last_at,
        uniqExact(toDate(timestamp)) as active_days

    from {{ ref('int_learner_events').render() }}

    group by
        section_id,
        course_id,
        learner_id

),

videos as (

    select
        section_id,
        course_id,
        learner_id,
        countIf(shares.plays > 0) as videos_started,
        countIf(coalesce(is_watched, false)) as videos_watched,
        sum(seconds_played) / 60 as minutes_played

    from {{ ref('fct_learner_video_shares').render() }} as shares

    group by
        section_id,
        course_id,
        learner_id

),

pages as (

    select
        section_id,
        course_id,
        learner_id,
        countIf(views > 0) as pages_viewed

    from {{ ref('fct_learner_pages').render() }}

    group by
        section_id,
        course_id,
        learner_id

),

questions as (

    select
        section_id,
        course_id,
        learner_id,
        sum(parts.attempts) as attempts,
        avg(toNullable(parts.correct / parts.attempts)) as mean_share_correct

    from {{ ref('fct_learner_parts').render() }} as parts

    group by
        section_id,
        course_id,
        learner_id

),

learner_activity as (

    select
        events.section_id as section_id,
        events.course_id as course_id,
        events.learner_id as learner_id,
        events.first_at as first_at,
        events.last_at as last_at,
        events.active_days as active_days,
        videos.videos_started as videos_started,
        videos.videos_watched as videos_watched,
        videos.minutes_played as minutes_played,
        pages.pages_viewed as pages_viewed,
        questions.attempts as attempts,
        questions.mean_share_correct as mean_share_correct,
        dateDiff('day', events.last_at, {{ as_of() }}) as days_since_last

    from events

    left join videos
        on events.section_id = videos.section_id
        and events.course_id = videos.course_id
        and events.learner_id = videos.learner_id

    left join pages
        on events.section_id = pages.section_id
        and events.course_id = pages.course_id
        and events.learner_id = pages.learner_id

    left join questions
        on events.section_id = questions.section_id
        and events.course_id = questions.course_id
        and events.learner_id = questions.learner_id

)

select * from learner_activity
