{{ config(
    materialized = 'compared_incremental',
    engine = engine_name('ReplacingMergeTree') ~ '(version, is_deleted)',
    order_by = '(section_id, course_id, video_key, learner_id)',
    group_key = ['section_id', 'course_id', 'learner_id', 'video_key'],
    made_from = ['int_player_events', 'int_learner_videos_now'],
    follows = ['video_events'],
    contract = named_tuples_have_no_contract()
) }}

with

learner_videos as (

    select
        *,
        toUInt64(0) as version,
        toUInt8(0) as is_deleted

    from {{ ref('int_learner_videos_now') }}

)

select * from learner_videos
