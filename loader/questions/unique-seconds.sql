-- How many different seconds of a video did each learner see?
--
-- section UInt64: the course section
-- course String = '': only this course; all courses of the section if left out
-- video String = '': only this video (its video_key in dim_videos); all videos if left out

select
    shares.learner_id as learner_id,
    shares.video_key as video_key,
    videos.title as title,
    shares.seconds_seen as seconds_seen,
    shares.length as length,
    shares.share_seen as share_seen,
    shares.seconds_played as seconds_played,
    shares.last_at as last_at,
    shares.course_id as course_id
from fct_learner_video_shares as shares
inner join dim_videos as videos
    on shares.section_id = videos.section_id
    and shares.course_id = videos.course_id
    and shares.video_key = videos.video_key
where shares.section_id = {section:UInt64}
    and ({course:String} = '' or shares.course_id = {course:String})
    and ({video:String} = '' or shares.video_key = {video:String})
order by course_id, video_key, seconds_seen desc, learner_id
