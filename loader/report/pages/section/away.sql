-- Learners without an event for a week, those away longest first.
select
    learner_id,
    max(last_at) as last_at,
    min(days_since_last) as days_away,
    sum(active_days) as active_days,
    sum(videos_watched) as videos_watched,
    sum(minutes_played) as minutes_played,
    sum(attempts) as attempts,
    count() over () as learners
from fct_learner_activity
where
    section_id = {section:UInt64}
    and (section_id > 0 or course_id = {course:String})
group by learner_id
having days_away >= 7
order by
    days_away desc,
    learner_id
limit {limit:UInt32}
