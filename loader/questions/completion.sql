-- How many learners finish each video?
-- Shares are of the learners who opened the video.
--
-- section UInt64: the course section
-- course String = '': only this course; all courses of the section if left out

select
    videos.video_key as video_key,
    names.title as title,
    names.length as length,
    videos.learners as learners,
    videos.watched as watched,
    videos.watched_share as watched_share,
    videos.completed as completed,
    videos.mean_share_seen as mean_share_seen,
    videos.median_share as median_share,
    videos.drop_off_place as drop_off_place,
    videos.course_id as course_id
from fct_videos as videos
inner join dim_videos as names
    on videos.section_id = names.section_id
    and videos.course_id = names.course_id
    and videos.video_key = names.video_key
where videos.section_id = {section:UInt64}
    and ({course:String} = '' or videos.course_id = {course:String})
order by course_id, watched_share desc nulls last, video_key
