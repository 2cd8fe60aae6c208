with

video_events as (

    select * from {{ ref('video_events').render() }}

),

-- Missing ids become '' or 0 and missing places -1, so that nothing here is NULL.
player_events as (

    select
        event_id,
        load_id,
        section_id,
        course_id,
        learner_id,
        {{ video_key('assumeNotNull(video_url)') }} as video_key,
        coalesce(session_id, '') as player_session_id,
        coalesce(page_id, 0) as player_page_id,
        coalesce(page_attempt_guid, '') as player_page_attempt_guid,
        coalesce(content_element_id, '') as player_content_element_id,
        timestamp,
        verb,
        if(
            verb = 'seeked',
            {{ place_of('video_seek_from') }},
            {{ place_of('video_time') }}
        ) as place,
        if(verb = 'seeked', {{ place_of('video_seek_to') }}, place) as place_after,
        coalesce(video_played_segments, '') as reported_segments,
        -- Of all that the marts read: an event may keep its id and change its place. Of the
        -- learner, too: sections are compared first, and an event may move to another learner.
        cityHash64(
            event_id,
            learner_id,
            assumeNotNull(video_url),
            player_session_id,
            player_page_id,
            player_page_attempt_guid,
            player_content_element_id,
            timestamp,
            verb,
            place,
            place_after,
            reported_segments
        ) as event_hash

    from video_events

    where notEmpty(coalesce(video_url, ''))

)

select * from player_events
