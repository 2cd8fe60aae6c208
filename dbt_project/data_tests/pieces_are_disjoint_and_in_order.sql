{#-
    Harm: a second of a video counts twice for a learner, so shares, watch times and viewers at a place
    are too high.

    An error of the model: see docs/watched.md.
-#}

with

learner_videos as (

    select * from {{ ref('fct_learner_videos') }}

),

wrong as (

    select
        section_id,
        course_id,
        learner_id,
        video_key,
        pieces

    from learner_videos

    where arrayExists(
        piece -> piece.1 < 0
        or piece.1 >= piece.2
        or piece.2 > {{ last_place() }}
        or piece.3 < 1,
        pieces
    )
    or arrayExists(
        (piece, next) -> piece.2 > next.1,
        arrayPopBack(pieces),
        arrayPopFront(pieces)
    )

)

select * from wrong
