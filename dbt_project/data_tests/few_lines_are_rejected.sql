{#-
    Harm: most of what arrives is rejected, for example because a producer changed its format. The
    lines are kept, but the tables get no events.

    A warning: nothing is lost, and dbt cannot repair it. Not stored: rejected_statements has the
    lines and the reasons.
-#}
{{ config(severity = 'warn', store_failures = false) }}

with

recent_loads as (

    select
        load_id,
        load_lines

    from {{ ref('ops_applied_loads') }}

    where table_name = 'rejected_statements' and load_committed_at > now('UTC') - interval 1 day

),

rejected as (

    -- A line that is a list may have several rejected items.
    select uniqExact(load_id, source_path, source_line) as rejected_lines

    from {{ ref('rejected_statements') }}

    where load_id in (select load_id from recent_loads)

),

loaded as (

    select sum(load_lines) as lines from recent_loads

)

select
    loaded.lines as lines,
    rejected.rejected_lines as rejected_lines

from loaded

cross join rejected

where rejected.rejected_lines * 100 > loaded.lines * {{ var('rejected_warn_percent') }}
