-- Do learners who watch more score better?
-- One row per learner; the last columns give, for the whole course, the rank correlation of minutes
-- with scores and how many learners it is over. It is no cause: eager learners do both.
--
-- section UInt64: the course section
-- course String = '': only this course; all courses of the section if left out

with

learners as (

    select
        course_id,
        learner_id,
        minutes_played,
        videos_started,
        videos_watched,
        attempts,
        mean_share_correct
    from fct_learner_activity
    where section_id = {section:UInt64}
        and ({course:String} = '' or course_id = {course:String})

),

correlations as (

    select
        course_id,
        countIf(isNotNull(mean_share_correct)) as learners_with_scores,
        rankCorrIf(
            minutes_played,
            assumeNotNull(mean_share_correct),
            isNotNull(mean_share_correct)
        ) as rank_correlation
    from learners
    group by course_id

)

select
    learners.learner_id as learner_id,
    learners.minutes_played as minutes_played,
    learners.videos_started as videos_started,
    learners.videos_watched as videos_watched,
    learners.attempts as attempts,
    learners.mean_share_correct as mean_share_correct,
    if(correlations.learners_with_scores < 3, null, correlations.rank_correlation)
        as rank_correlation,
    correlations.learners_with_scores as learners_with_scores,
    learners.course_id as course_id
from learners
inner join correlations on learners.course_id = correlations.course_id
order by course_id, minutes_played desc, learner_id
