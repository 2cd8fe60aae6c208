with

shares as (

    select * from {{ ref('fct_learner_video_shares').render() }}

),

-- With a catalogue the videos that it lists, else those that anybody opened.
videos as (

    select
        section_id,
        course_id,
        video_key,
        isNotNull(is_in_catalogue) as has_catalogue

    from {{ ref('dim_videos').render() }}

    where coalesce(is_in_catalogue, true)

),

sections as (

    select
        section_id,
        course_id,
        count() as videos,
        any(has_catalogue) as has_catalogue

    from videos

    group by
        section_id,
        course_id

),

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

-- A learner has seen a video of which some piece was played.
watching as (

    select
        shares.section_id as section_id,
        shares.course_id as course_id,
        shares.learner_id as learner_id,
        countIf(shares.seconds_seen > 0 and notEmpty(videos.video_key)) as videos_seen,
        sum(shares.seconds_played) as seconds_played,
        sum(shares.share_seen) as shares_sum,
        count(shares.share_seen) as shares_known

    from shares

    left join videos
        on shares.section_id = videos.section_id
        and shares.course_id = videos.course_id
        and shares.video_key = videos.video_key

    group by
        section_id,
        course_id,
        learner_id

),

everybody as (

    select
        section_id,
        course_id,
        learner_id

    from watching

    union distinct

    select
        section_id,
        course_id,
        learner_id

    from roster

),

-- With a roster the learners that it lists, else those with a video event.
learners as (

    select
        everybody.section_id as section_id,
        everybody.course_id as course_id,
        rosters.has_roster as has_roster,
        watching.videos_seen as videos_seen,
        watching.seconds_played as seconds_played,
        watching.shares_sum as shares_sum,
        watching.shares_known as shares_known

    from everybody

    left join rosters
        on everybody.section_id = rosters.section_id
        and everybody.course_id = rosters.course_id

    left join roster
        on everybody.section_id = roster.section_id
        and everybody.course_id = roster.course_id
        and everybody.learner_id = roster.learner_id

    left join watching
        on everybody.section_id = watching.section_id
        and everybody.course_id = watching.course_id
        and everybody.learner_id = watching.learner_id

    where not rosters.has_roster or notEmpty(roster.learner_id)

),

section_videos as (

    select
        learners.section_id as section_id,
        learners.course_id as course_id,
        if(any(sections.has_catalogue), 'catalogue', 'events') as videos_from,
        if(any(learners.has_roster), 'roster', 'events') as learners_from,
        any(sections.videos) as videos,
        count() as learners,
        countIf(learners.videos_seen = 0) as learners_none,
        countIf(learners.videos_seen between 1 and sections.videos - 1) as learners_some,
        countIf(learners.videos_seen = sections.videos) as learners_all,
        sum(learners.seconds_played) / 60 as minutes_played,
        sum(learners.shares_sum) / nullIf(sum(learners.shares_known), 0) as mean_share

    from learners

    inner join sections
        on learners.section_id = sections.section_id
        and learners.course_id = sections.course_id

    group by
        section_id,
        course_id

)

select * from section_videos
