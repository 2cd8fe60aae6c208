-- How many learners saw each place of a video, and how often it was seen again: a limited number of
-- places of each video. A value holds until the next place.
with

curves as (

    select
        course_id,
        video_key,
        place,
        viewers,
        repeats
    from fct_video_retention
    where
        section_id = {section:UInt64}
    and (section_id > 0 or course_id = {course:String})

),

steps as (

    select
        course_id,
        video_key,
        greatest(1, ceil(max(place) / {points:UInt16})) as step
    from curves
    group by
        course_id,
        video_key

)

select
    curves.course_id as course_id,
    curves.video_key as video_key,
    ceil(curves.place / steps.step) * steps.step as second,
    argMax(curves.viewers, curves.place) as viewers,
    argMax(curves.repeats, curves.place) as repeat_views
from curves
inner join steps
    on curves.course_id = steps.course_id
    and curves.video_key = steps.video_key
group by
    course_id,
    video_key,
    second
order by
    course_id,
    video_key,
    second
