-- Where do viewers leave a video?
-- Steps over which the number of viewers falls, the largest fall of a video first;
-- is_end: the step contains the end of the video, where all have to stop.
--
-- section UInt64: the course section
-- course String = '': only this course; all courses of the section if left out
-- video String = '': only this video (its video_key in dim_videos); all videos if left out
-- step UInt64 = 5: length of a step in seconds
-- after Float64 = 10: leave out falls before this place, in seconds

with

steps as (

    select
        course_id,
        video_key,
        (ceil(place / {step:UInt64}) - 1) * {step:UInt64} as from_place,
        argMax(viewers, place) as viewers_after
    from fct_video_retention
    where section_id = {section:UInt64}
        and ({course:String} = '' or course_id = {course:String})
        and ({video:String} = '' or video_key = {video:String})
    group by course_id, video_key, from_place

),

changes as (

    select
        *,
        lagInFrame(viewers_after, 1, 0) over (
            partition by course_id, video_key
            order by from_place
            rows between unbounded preceding and current row
        ) as viewers_before
    from steps

)

select
    changes.video_key as video_key,
    videos.title as title,
    changes.from_place as from_place,
    changes.from_place + {step:UInt64} as to_place,
    changes.viewers_before as viewers_before,
    changes.viewers_after as viewers_after,
    changes.viewers_before - changes.viewers_after as viewers_lost,
    changes.from_place + {step:UInt64} >= videos.length as is_end,
    changes.course_id as course_id
from changes
inner join dim_videos as videos
    on changes.course_id = videos.course_id
    and changes.video_key = videos.video_key
where videos.section_id = {section:UInt64}
    and changes.viewers_after < changes.viewers_before
    and changes.from_place >= {after:Float64}
order by course_id, video_key, viewers_lost desc, from_place
