{#- For `xapi-elt erase`: the rule that makes two spellings of a learner equal has one place. -#}
with

requests as (

    select
        request_id,
        home_page,
        user_id,
        (kind, home_page, user_id) as learner

    from {{ source('xapi_raw', 'erasure_requests').render() }}

),

erasure_requests as (

    select
        request_id,
        learner.1 as kind,
        home_page,
        user_id,
        {{ tombstone_hash('learner') }} as identity_hash,
        {{ learner_id('learner') }} as learner_id,
        {{ hash_id(sql_text(erased_line())) }} as erased_event_id

    from requests

)

select * from erasure_requests
