{{
  config(
    materialized = 'table',
    engine = engine_name('MergeTree'),
    order_by = '(section_id, course_id, video_key)'
  )
}}

with

catalogue as (

    {{ rows_of_seed(
        ref('section_videos'),
        {
            'section_id': 'UInt64',
            'course_id': 'String',
            'video_url': 'String',
            'title': 'String',
            'chapter': 'String',
            'position': 'UInt32',
        }
    ) }}

),

keyed as (

    select
        section_id,
        toLowCardinality(course_id) as course_id,
        {{ video_key('video_url') }} as video_key,
        nullIf(title, '') as listed_title,
        nullIf(chapter, '') as listed_chapter,
        position as listed_position

    from catalogue

),

-- A video that is listed twice has its first place.
section_videos as (

    select
        section_id,
        course_id,
        video_key,
        argMin(listed_title, listed_position) as title,
        argMin(listed_chapter, listed_position) as chapter,
        min(listed_position) as position

    from keyed

    group by
        section_id,
        course_id,
        video_key

)

select * from section_videos
