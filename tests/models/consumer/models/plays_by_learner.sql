with

events as (

    select * from {{ ref('xapi_elt', 'video_events') }}

),

plays as (

    select
        user_id,
        {{ xapi_elt.xapi_verb('played') }} as verb_iri,
        count() as plays

    from events

    where concat({{ xapi_elt.xapi_verb_prefix('video') }}, verb) = verb_iri

    group by user_id

)

select * from plays
