with

video_events as (

    select
        section_id,
        course_id,
        {{ video_key('assumeNotNull(video_url)') }} as video_key,
        timestamp,
        page_id,
        content_element_id,
        video_title,
        video_length,
        video_completion_threshold as completion_threshold

    from {{ ref('video_events').render() }}

    where notEmpty(coalesce(video_url, ''))

),

-- How often each title, length and threshold was sent.
counted as (

    select
        section_id,
        course_id,
        video_key,
        {{ frequencies('video_title') }} as titles,
        {{ frequencies('video_length', 'video_length > 0') }} as lengths,
        {{ frequencies('completion_threshold', 'completion_threshold > 0') }} as thresholds,
        arraySort(groupUniqArrayIf(assumeNotNull(page_id), isNotNull(page_id))) as page_ids,
        arraySort(
            groupUniqArrayIf(assumeNotNull(content_element_id), isNotNull(content_element_id))
        ) as content_element_ids,
        min(timestamp) as first_at,
        max(timestamp) as last_at

    from video_events

    group by
        section_id,
        course_id,
        video_key

),

videos as (

    select
        section_id,
        course_id,
        video_key,
        {{ most_frequent('titles', 'length(value)') }} as title,
        {{ most_frequent('lengths', 'value') }} as length,
        length(lengths.1) as different_lengths,
        {{ most_frequent('thresholds', 'value') }} as completion_threshold,
        page_ids,
        content_element_ids,
        first_at,
        last_at

    from counted

)

select * from videos
