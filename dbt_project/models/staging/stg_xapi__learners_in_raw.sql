{#- For `xapi-elt erase`, which searches here and not in stg_xapi__statements: uncommitted, superseded
    and repeated lines are personal data, too. -#}
with

lines as (

    select
        load_id,
        bucket,
        key,
        if(bucket = '', toString(key), concat(bucket, '/', key)) as source_path,
        source_line,
        line

    from {{ source('xapi_raw', 'statements').render() }}

),

{{ items_of('lines') }},

actors as (

    select
        *,
        {{ parse_actor('json') }} as statement

    from items

),

named as (

    select
        *,
        {{ learner() }} as learner

    from actors

),

learners_in_raw as (

    select
        load_id,
        bucket,
        key,
        source_path,
        source_line,
        source_item,
        is_plain,
        if(is_plain, whole_line, item_text) as item_text,
        item_text = '{{ erased_line() }}' as is_erased,
        '{{ erased_line() }}' as erased_line,
        learner.1 as kind,
        learner.2 as home_page,
        learner.3 as user_id,
        {{ tombstone_hash('learner') }} as identity_hash,
        {{ learner_id('learner') }} as learner_id

    from named

)

select * from learners_in_raw
