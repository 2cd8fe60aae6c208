-- How far the figures of videos can be trusted, per producer.
select
    producer,
    sum(pairing.plays) as plays,
    sum(pairing.lost_share * pairing.plays) / nullIf(sum(pairing.plays), 0) as lost_share,
    sum(pairing.reported_only_seconds) as reported_only_seconds,
    sum(pairing.paired_seconds) as paired_seconds,
    sum(pairing.several_lengths) as several_lengths,
    sum(pairing.places_beyond_length) as places_beyond_length
from ops_video_pairing as pairing
where
    section_id = {section:UInt64}
    and (section_id > 0 or course_id = {course:String})
group by producer
order by
    plays desc,
    producer
