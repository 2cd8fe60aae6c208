with

video_events as (

    select
        section_id,
        course_id,
        learner_id,
        {{ video_key('assumeNotNull(video_url)') }} as video_key,
        coalesce(home_page, 'course') as producer,
        video_progress,
        {{ place_of('video_time') }} as place,
        {{ segments_of("splitByString('[,]', coalesce(video_played_segments, ''))") }} as segments,
        {{ borders_of('segments') }} as segment_borders,
        {{ covered_seconds('segment_borders') }} as segment_seconds

    from {{ ref('video_events').render() }}

    where notEmpty(coalesce(video_url, ''))

),

videos as (

    select * from {{ ref('dim_videos').render() }}

),

-- A report of progress differs if it is more than 1 % of the length away from the segments.
reports as (

    select
        video_events.section_id as section_id,
        video_events.course_id as course_id,
        video_events.producer as producer,
        uniqExactIf(video_events.video_key, videos.different_lengths > 1) as several_lengths,
        countIf(
            coalesce(
                video_events.place > videos.length + {{ var('video_time_tolerance') }}, false
            )
        ) as places_beyond_length,
        countIf(
            isNotNull(video_events.video_progress)
            and isNotNull(videos.length)
            and notEmpty(video_events.segments)
        ) as progress_reports,
        countIf(
            notEmpty(video_events.segments)
            and coalesce(
                abs(video_events.video_progress - video_events.segment_seconds / videos.length)
                > 0.01,
                false
            )
        ) as differing_reports

    from video_events

    inner join videos
        on video_events.section_id = videos.section_id
        and video_events.course_id = videos.course_id
        and video_events.video_key = videos.video_key

    group by
        section_id,
        course_id,
        producer

),

producers as (

    select
        section_id,
        course_id,
        learner_id,
        video_key,
        min(producer) as producer

    from video_events

    group by
        section_id,
        course_id,
        learner_id,
        video_key

),

learner_videos as (

    select * from {{ ref('fct_learner_videos').render() }}

),

paired as (

    select
        learner_videos.section_id as section_id,
        learner_videos.course_id as course_id,
        producers.producer as producer,
        sum(learner_videos.plays) as plays,
        sum(learner_videos.plays_without_end) as plays_without_end,
        sum(learner_videos.paired_seconds) as paired_seconds,
        sum(
            greatest(0, learner_videos.seconds_seen - learner_videos.paired_seconds)
        ) as reported_only_seconds

    from learner_videos

    inner join producers
        on learner_videos.section_id = producers.section_id
        and learner_videos.course_id = producers.course_id
        and learner_videos.learner_id = producers.learner_id
        and learner_videos.video_key = producers.video_key

    group by
        section_id,
        course_id,
        producer

),

pairing as (

    select
        reports.section_id as section_id,
        reports.course_id as course_id,
        reports.producer as producer,
        paired.plays as plays,
        paired.plays_without_end / nullIf(paired.plays, 0) as lost_share,
        paired.reported_only_seconds as reported_only_seconds,
        paired.paired_seconds as paired_seconds,
        reports.differing_reports / nullIf(reports.progress_reports, 0) as progress_differs_share,
        reports.several_lengths as several_lengths,
        reports.places_beyond_length as places_beyond_length

    from reports

    left join paired
        on reports.section_id = paired.section_id
        and reports.course_id = paired.course_id
        and reports.producer = paired.producer

)

select * from pairing
