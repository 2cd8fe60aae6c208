-- How long does each learner watch, week by week?
-- Weeks begin on Monday, in UTC. Parts that only the player reported have no day and do not count.
--
-- section UInt64: the course section
-- course String = '': only this course; all courses of the section if left out
-- learner String = '': only this learner (learner_id); all learners if left out

select
    learner_id,
    toMonday(day) as week,
    sum(seconds_played) / 60 as minutes_played,
    sum(plays) as plays,
    uniqExact(video_key) as videos,
    uniqExact(day) as days,
    course_id
from fct_learner_video_days
where section_id = {section:UInt64}
    and ({course:String} = '' or course_id = {course:String})
    and ({learner:String} = '' or learner_id = {learner:String})
group by course_id, learner_id, week
order by course_id, learner_id, week
