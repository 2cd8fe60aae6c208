with

stored as (

    select * from {{ ref('int_learner_parts').render() }} final

),

learner_parts as (

    select * except (events, version, is_deleted)

    from stored

    where not is_deleted

)

select * from learner_parts
