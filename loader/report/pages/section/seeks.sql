-- The most frequent jumps within each video.
select
    course_id,
    video_key,
    from_place,
    to_place,
    seeks,
    learners,
    forward > 0 as is_forward
from fct_video_seeks
where
    section_id = {section:UInt64}
    and (section_id > 0 or course_id = {course:String})
order by
    seeks desc,
    learners desc,
    from_place,
    to_place
limit 8 by course_id, video_key
