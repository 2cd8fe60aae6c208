-- The videos in the order of the course's catalogue, the others in the order in which the section
-- opened them. A video of the catalogue that nobody opened is here, too.
with

videos as (

    select *
    from dim_videos
    where
        section_id = {section:UInt64}
    and (section_id > 0 or course_id = {course:String})

),

figures as (

    select *
    from fct_videos
    where
        section_id = {section:UInt64}
    and (section_id > 0 or course_id = {course:String})

),

-- Who has played some of a video.
begun as (

    select
        course_id,
        video_key,
        countIf(plays > 0 or seconds_seen > 0) as learners_begun
    from fct_learner_videos
    where
        section_id = {section:UInt64}
    and (section_id > 0 or course_id = {course:String})
    group by
        course_id,
        video_key

)

select
    videos.course_id as course_id,
    videos.video_key as video_key,
    videos.title as title,
    videos.chapter as chapter,
    videos.position as position,
    videos.length as length,
    figures.learners as learners,
    begun.learners_begun as learners_begun,
    figures.watched as watched,
    figures.watched_share as watched_share,
    figures.mean_share_seen as mean_share_seen,
    figures.views as views,
    figures.plays as plays,
    figures.minutes_played as minutes_played,
    figures.rewatch_share as rewatch_share,
    figures.drop_off_place as drop_off_place,
    figures.lost_share as lost_share
from videos
left join figures
    on videos.course_id = figures.course_id
    and videos.video_key = figures.video_key
left join begun
    on videos.course_id = begun.course_id
    and videos.video_key = begun.video_key
order by
    isNull(videos.position),
    videos.position,
    videos.first_at,
    videos.video_key
