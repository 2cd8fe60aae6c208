with

stored as (

    select * from {{ ref('int_learner_pages').render() }} final

),

learner_pages as (

    select * except (events, version, is_deleted)

    from stored

    where not is_deleted

)

select * from learner_pages
