with

learner_videos as (

    select * from {{ ref('fct_learner_videos').render() }}

),

learners as (

    select
        section_id,
        course_id,
        video_key,
        count() as learners

    from learner_videos

    group by
        section_id,
        course_id,
        video_key

),

-- A learner's pieces are disjoint, so each place counts a learner once.
borders as (

    select
        section_id,
        course_id,
        video_key,
        arrayJoin(
            arrayConcat(
                arrayMap(piece -> (piece.1, 1, toInt64(piece.3)), pieces),
                arrayMap(piece -> (piece.2, -1, -toInt64(piece.3)), pieces)
            )
        ) as border

    from learner_videos

),

changes as (

    select
        section_id,
        course_id,
        video_key,
        border.1 as place,
        sum(border.2) as viewers_change,
        sum(border.3) as views_change

    from borders

    group by
        section_id,
        course_id,
        video_key,
        place

    having viewers_change != 0 or views_change != 0

),

curves as (

    select
        section_id,
        course_id,
        video_key,
        place,
        sum(viewers_change) over up_to_here as viewers,
        sum(views_change) over up_to_here as views

    from changes

    window up_to_here as (
        partition by section_id, course_id, video_key
        order by place
        rows unbounded preceding
    )

),

retention as (

    select
        curves.section_id as section_id,
        curves.course_id as course_id,
        curves.video_key as video_key,
        curves.place as place,
        toUInt64(curves.viewers) as viewers,
        toUInt64(curves.views) as views,
        toUInt64(curves.views - curves.viewers) as repeats,
        curves.viewers / learners.learners as share

    from curves

    inner join learners
        on curves.section_id = learners.section_id
        and curves.course_id = learners.course_id
        and curves.video_key = learners.video_key

)

select * from retention
