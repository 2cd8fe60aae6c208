-- Which parts of a video are watched again?
-- Parts that some learner played more than once, those with the most repeats per viewer first.
--
-- section UInt64: the course section
-- course String = '': only this course; all courses of the section if left out
-- video String = '': only this video (its video_key in dim_videos); all videos if left out
-- min_seconds Float64 = 1: leave out parts that are shorter

with

parts as (

    select
        course_id,
        video_key,
        place as from_place,
        leadInFrame(place) over (
            partition by course_id, video_key
            order by place
            rows between current row and unbounded following
        ) as to_place,
        viewers,
        views,
        repeats
    from fct_video_retention
    where section_id = {section:UInt64}
        and ({course:String} = '' or course_id = {course:String})
        and ({video:String} = '' or video_key = {video:String})

)

select
    parts.video_key as video_key,
    videos.title as title,
    parts.from_place as from_place,
    parts.to_place as to_place,
    parts.viewers as viewers,
    parts.views as views,
    parts.repeats as repeats,
    parts.repeats / parts.viewers as repeats_per_viewer,
    parts.course_id as course_id
from parts
inner join dim_videos as videos
    on parts.course_id = videos.course_id
    and parts.video_key = videos.video_key
where videos.section_id = {section:UInt64}
    and parts.repeats > 0
    and parts.to_place - parts.from_place >= {min_seconds:Float64}
order by course_id, video_key, repeats_per_viewer desc, from_place
