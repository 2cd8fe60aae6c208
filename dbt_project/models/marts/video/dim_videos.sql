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

opened as (

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

),

catalogue as (

    select * from {{ ref('int_section_videos').render() }}

),

catalogues as (

    select distinct
        section_id,
        course_id,
        true as has_catalogue

    from catalogue

),

keys as (

    select
        section_id,
        course_id,
        video_key

    from opened

    union distinct

    select
        section_id,
        course_id,
        video_key

    from catalogue

),

videos as (

    select
        keys.section_id as section_id,
        keys.course_id as course_id,
        keys.video_key as video_key,
        coalesce(catalogue.title, opened.title) as title,
        catalogue.chapter as chapter,
        if(empty(catalogue.video_key), null, catalogue.position) as position,
        cast(
            if(catalogues.has_catalogue, notEmpty(catalogue.video_key), null) as Nullable(Bool)
        ) as is_in_catalogue,
        opened.length as length,
        opened.different_lengths as different_lengths,
        opened.completion_threshold as completion_threshold,
        opened.page_ids as page_ids,
        opened.content_element_ids as content_element_ids,
        if(empty(opened.video_key), null, opened.first_at) as first_at,
        if(empty(opened.video_key), null, opened.last_at) as last_at

    from keys

    left join opened
        on keys.section_id = opened.section_id
        and keys.course_id = opened.course_id
        and keys.video_key = opened.video_key

    left join catalogue
        on keys.section_id = catalogue.section_id
        and keys.course_id = catalogue.course_id
        and keys.video_key = catalogue.video_key

    left join catalogues
        on keys.section_id = catalogues.section_id
        and keys.course_id = catalogues.course_id

)

select * from videos
