{{ config(
    engine = engine_name('ReplacingMergeTree'),
    order_by = '(section_id, course_id, timestamp, event_id)',
    partition_by = 'toYYYYMM(timestamp)',
    **event_table_config()
) }}

with

statements as (

    select * from {{ statements() }}

),

video_events as (

    select
        {{ event_keys() }},
        content_element_id,
        object_id as video_url,
        object_title as video_title,
        video_time,
        video_length,
        video_progress,
        video_played_segments,
        video_seek_from,
        video_seek_to,
        video_completion_threshold,
        video_speed,
        video_quality,
        video_volume,
        is_full_screen,
        is_captioned,
        caption_language,
        {{ event_lineage() }}

    from statements

    where family = 'video'

)

select * from video_events
