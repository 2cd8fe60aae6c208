-- Who has not watched a video, and how much have they seen?
-- learners_are: of the roster where there is one (docs/models.md), else seen in the section, because
-- statements name only learners who did something.
--
-- section UInt64: the course section
-- course String = '': only this course; all courses of the section if left out
-- video String = '': only this video (its video_key in dim_videos); all videos if left out
-- share Float64 = 0.95: share of the video that has to be seen; without a length, any second

with

learners as (

    select
        course_id,
        learner_id,
        if(isNull(is_enrolled), 'seen in the section', 'of the roster') as learners_are
    from dim_section_learners
    where section_id = {section:UInt64}
        and coalesce(is_enrolled, true)
        and ({course:String} = '' or course_id = {course:String})

),

videos as (

    select
        course_id,
        video_key,
        title,
        length,
        position
    from dim_videos
    where section_id = {section:UInt64}
        and coalesce(is_in_catalogue, true)
        and ({video:String} = '' or video_key = {video:String})

),

seen as (

    select
        course_id,
        learner_id,
        video_key,
        plays,
        seconds_seen,
        share_seen,
        last_at
    from fct_learner_video_shares
    where section_id = {section:UInt64}

)

select
    learners.learner_id as learner_id,
    videos.video_key as video_key,
    videos.title as title,
    multiIf(
        empty(seen.learner_id), 'not opened',
        seen.seconds_seen = 0, 'opened, no second seen',
        'seen in part'
    ) as status,
    seen.seconds_seen as seconds_seen,
    if(isNull(videos.length), null, coalesce(seen.share_seen, 0)) as share_seen,
    if(empty(seen.learner_id), null, toNullable(seen.last_at)) as last_at,
    learners.learners_are as learners_are,
    learners.course_id as course_id
from learners
inner join videos on learners.course_id = videos.course_id
left join seen
    on learners.course_id = seen.course_id
    and learners.learner_id = seen.learner_id
    and videos.video_key = seen.video_key
where if(isNull(videos.length), seconds_seen = 0, share_seen < {share:Float64})
order by course_id, videos.position nulls last, video_key, share_seen, seconds_seen, learner_id
