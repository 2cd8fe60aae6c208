{{ config(contract = named_tuples_have_no_contract()) }}

with

stored as (

    select * from {{ ref('int_learner_videos').render() }} final

),

learner_videos as (

    select * except (version, is_deleted)

    from stored

    where not is_deleted

)

select * from learner_videos
