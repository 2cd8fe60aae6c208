with

shares as (

    select * from {{ ref('fct_learner_video_shares').render() }}

),

videos as (

    select
        section_id,
        course_id,
        count() as videos

    from {{ ref('dim_videos').render() }}

    group by
        section_id,
        course_id

),

-- A learner has seen a video of which some piece was played.
learners as (

    select
        section_id,
        course_id,
        learner_id,
        countIf(seconds_seen > 0) as videos_seen,
        sum(shares.seconds_played) as seconds_played,
        sum(share_seen) as shares_sum,
        count(share_seen) as shares_known

    from shares

    group by
        section_id,
        course_id,
        learner_id

),

section_videos as (

    select
        learners.section_id as section_id,
        learners.course_id as course_id,
        any(videos.videos) as videos,
        count() as learners,
        countIf(learners.videos_seen = 0) as learners_none,
        countIf(learners.videos_seen between 1 and videos.videos - 1) as learners_some,
        countIf(learners.videos_seen = videos.videos) as learners_all,
        sum(learners.seconds_played) / 60 as minutes_played,
        sum(learners.shares_sum) / nullIf(sum(learners.shares_known), 0) as mean_share

    from learners

    inner join videos
        on learners.section_id = videos.section_id
        and learners.course_id = videos.course_id

    group by
        section_id,
        course_id

)

select * from section_videos
