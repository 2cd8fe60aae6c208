-- To which places of a video do learners jump back?
-- Jumps back of more than a second, by the place where they lead, in steps of 5 seconds.
--
-- section UInt64: the course section
-- course String = '': only this course; all courses of the section if left out
-- video String = '': only this video (its video_key in dim_videos); all videos if left out

select
    seeks.video_key as video_key,
    videos.title as title,
    seeks.to_place as to_place,
    sum(seeks.seeks - seeks.forward) as jumps_back,
    max(seeks.from_place) as from_at_most,
    -- Of jumps within one step some may lead forward; their seconds are left out.
    sumIf(seeks.seconds, seeks.forward = 0) as seconds_back,
    seeks.course_id as course_id
from fct_video_seeks as seeks
inner join dim_videos as videos
    on seeks.section_id = videos.section_id
    and seeks.course_id = videos.course_id
    and seeks.video_key = videos.video_key
where seeks.section_id = {section:UInt64}
    and ({course:String} = '' or seeks.course_id = {course:String})
    and ({video:String} = '' or seeks.video_key = {video:String})
    and seeks.seeks > seeks.forward
group by course_id, video_key, title, to_place
order by course_id, video_key, jumps_back desc, to_place
