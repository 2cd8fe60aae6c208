with

shares as (

    select * from {{ ref('fct_learner_video_shares').render() }}

),

retention as (

    select * from {{ ref('fct_video_retention').render() }}

),

-- By how much the viewers change from the beginning of each step of 5 s to its end.
steps as (

    select
        section_id,
        course_id,
        video_key,
        (ceil(place / 5) - 1) * 5 as step,
        argMax(viewers, place) as viewers_after

    from retention

    group by
        section_id,
        course_id,
        video_key,
        step

),

changes as (

    select
        *,
        toInt64(viewers_after) - toInt64(
            lagInFrame(viewers_after, 1, 0) over (
                partition by section_id, course_id, video_key
                order by step
                rows between unbounded preceding and current row
            )
        ) as viewers_change

    from steps

),

falls as (

    select
        section_id,
        course_id,
        video_key,
        -- Of equal falls the first.
        argMin(toNullable(step), (viewers_change, step)) as drop_off_place

    from changes

    where step >= 10 and viewers_change < 0

    group by
        section_id,
        course_id,
        video_key

),

measured as (

    select
        section_id,
        course_id,
        video_key,
        count() as learners,
        sum(shares.sessions) as views,
        sum(shares.plays) as plays,
        sum(shares.starts) as starts,
        sum(shares.seconds_played) / 60 as minutes_played,
        avg(share_seen) as mean_share_seen,
        quantileExactInclusive(0.5)(share_seen) as median_share,
        countIf(coalesce(is_watched, false)) as watched,
        if(isNull(any(shares.length)), null, watched / learners) as watched_share,
        countIf(is_completed) as completed,
        sum(seconds_rewatched) / nullIf(sum(shares.seconds_played), 0) as rewatch_share,
        sum(shares.seconds_played) / learners as mean_seconds,
        sum(shares.plays_without_end) / nullIf(sum(shares.plays), 0) as lost_share

    from shares

    group by
        section_id,
        course_id,
        video_key

),

videos as (

    select
        measured.*,
        falls.drop_off_place as drop_off_place

    from measured

    left join falls
        on measured.section_id = falls.section_id
        and measured.course_id = falls.course_id
        and measured.video_key = falls.video_key

)

select * from videos
