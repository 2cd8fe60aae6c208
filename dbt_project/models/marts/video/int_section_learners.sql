{#- A table, because a view would need the key of the pseudonyms whenever somebody reads it. -#}
{{
  config(
    materialized = 'table',
    engine = engine_name('MergeTree'),
    order_by = '(section_id, course_id, learner_id)'
  )
}}

with

roster as (

    {{ rows_of_seed(
        ref('section_learners'),
        {
            'section_id': 'UInt64',
            'course_id': 'String',
            'home_page': 'String',
            'user_id': 'String',
            'learner_id': 'String',
        }
    ) }}

),

accounts as (

    select
        section_id,
        course_id,
        learner_id as given_id,
        ('account', home_page, user_id) as learner

    from roster

),

section_learners as (

    select distinct
        section_id,
        toLowCardinality(course_id) as course_id,
        if(
            notEmpty(given_id), given_id, assumeNotNull({{ learner_id('learner') }})
        ) as learner_id

    from accounts

)

select * from section_learners
