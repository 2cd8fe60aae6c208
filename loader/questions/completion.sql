-- How many learners finish each video?
-- Shares are of the learners who opened the video. With a catalogue of the section
-- (docs/models.md) also the videos that nobody opened, in the order of the course.
--
-- section UInt64: the course section
-- course String = '': only this course; all courses of the section if left out

select
    names.video_key as video_key,
    names.title as title,
    names.chapter as chapter,
    names.is_in_catalogue as is_in_catalogue,
    names.length as length,
    videos.learners as learners,
    videos.watched as watched,
    videos.watched_share as watched_share,
    videos.completed as completed,
    videos.mean_share_seen as mean_share_seen,
    videos.median_share as median_share,
    videos.drop_off_place as drop_off_place,
    names.course_id as course_id
from dim_videos as names
left join fct_videos as videos
    on names.section_id = videos.section_id
    and names.course_id = videos.course_id
    and names.video_key = videos.video_key
where names.section_id = {section:UInt64}
    and ({course:String} = '' or names.course_id = {course:String})
order by course_id, names.position nulls last, watched_share desc nulls last, video_key
