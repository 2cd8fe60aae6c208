{{ config(
    materialized = 'compared_incremental',
    engine = engine_name('ReplacingMergeTree') ~ '(version, is_deleted)',
    order_by = '(section_id, course_id, page_id, learner_id)',
    group_key = ['section_id', 'course_id', 'learner_id', 'page_id'],
    made_from = ['int_page_activity', 'int_learner_pages_now'],
    follows = ['page_viewed_events', 'page_attempt_events']
) }}

with

learner_pages as (

    select
        *,
        toUInt64(0) as version,
        toUInt8(0) as is_deleted

    from {{ ref('int_learner_pages_now') }}

)

select * from learner_pages
