{#- A model of the same name as one of the package. -#}
{{ config(alias = 'statements_of_the_consumer') }}

select 1 as statements
