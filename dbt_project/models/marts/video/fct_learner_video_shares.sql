with

learner_videos as (

    select * from {{ ref('fct_learner_videos').render() }}

),

videos as (

    select * from {{ ref('dim_videos').render() }}

),

measured as (

    select
        learner_videos.* except (events_hash, pieces, paired_seconds, days),
        videos.length as length,
        videos.completion_threshold as completion_threshold,
        -- `least` ignores NULL.
        if(
            isNull(videos.length), null, least(1, learner_videos.seconds_seen / videos.length)
        ) as share_seen

    from learner_videos

    inner join videos
        on learner_videos.section_id = videos.section_id
        and learner_videos.course_id = videos.course_id
        and learner_videos.video_key = videos.video_key

),

learner_video_shares as (

    select
        * except (completion_threshold),
        toBool(share_seen >= {{ var('video_watched_share') | float }}) as is_watched,
        toBool(completions > 0) as is_completed,
        toBool(share_seen >= completion_threshold) as is_complete_by_threshold,
        toBool((plays > 0 or seconds_seen > 0) and not is_watched) as is_partial

    from measured

)

select * from learner_video_shares
