{#-
    A mart with one row per group of events, e.g. per learner and video. Each run compares what every
    row was made of (number of events, xor of their hashes) with the events that are there now, and
    makes the rows of groups that differ again, from all their events:

        changed sections ──▶ changed groups of a slice ──▶ their rows, with a higher version
        (events against      (elt_new__<model>__<number>)   (gone groups: is_deleted)
        stored rows)

    So late, replaced, withdrawn and rebuilt events are one case, and so is a run that died: what
    still differs is found by the next one. A row is replaced whole, so readers see a group before
    or after. One run at a time changes a mart (ledger_incremental/claim.sql).

    Nothing is read if the event tables are as they were when the mart was last compared: the comment
    of the mart says so. If they have the rows that they had and those of loads applied since, no
    more and no fewer, only the groups of these loads are made again (loads_since); everything is
    compared once in var mart_compare_hours all the same. If the definition of the mart changed, a new
    table is filled and exchanged.

    In this folder:
        mart.sql      what is known of a mart, and of what it was made
        compare.sql   finding the groups that differ
        fill.sql      rows of slices of bounded size; a new table

    The model yields columns of group_key, `events`, `events_hash`, `version` and `is_deleted`, and
    is a `ReplacingMergeTree(version, is_deleted)`; queries need `final` and `not is_deleted`.

    Config: `order_by` and `engine` as in dbt-clickhouse, and
        group_key  columns of a group, section_id, course_id and learner_id among them
        made_from  the views that make the rows (kept_view). The first one has
                   the events: columns of group_key, `load_id`, and `event_hash` of all that is read of
                   an event, group_key included: sections are compared before their groups
        follows    the event tables below these views
-#}
{% materialization compared_incremental, adapter='clickhouse' %}

    {%- set existing = load_cached_relation(this) -%}
    {%- set mart = describe_mart(model, sql) -%}
    {%- set grants = config.get('grants') -%}

    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}

    {%- set made = made_of(mart) -%}
    {%- set full = existing is none or existing.is_view or should_full_refresh()
        or made.definition != mart.definition -%}
    {%- if existing is not none and not made.definition and not should_full_refresh() -%}
        {{ exceptions.raise_compiler_error(
            mart.relation ~ ' was not made by this project; drop or rename it, or fill it again: '
            ~ 'dbt run --full-refresh --select ' ~ mart.name ~ '. Nothing was done'
        ) }}
    {%- endif -%}
    {%- if flags.EMPTY and existing is not none -%}
        {% do run_statement('select * from (' ~ sql ~ ') limit 0') %}
        {%- set outcome = 'EMPTY' -%}
    {%- else -%}
        {#- Before the events are read: what changes from now on is left to the next run. -#}
        {%- set events = '' if flags.EMPTY else events_now(mart) -%}
        {%- if full -%}
            {%- set outcome = fill_mart(mart, existing, events) -%}
        {%- elif events == made.events and made.rows >= made.groups -%}
            {%- set outcome = 'nothing new' -%}
        {%- else -%}
            {%- set outcome = compare_mart(mart, events, made) -%}
        {%- endif -%}
    {%- endif -%}

    {% call noop_statement('main', outcome) %}{% endcall %}

    {% do apply_grants(mart.relation, grants, should_revoke=should_revoke(existing, full)) %}
    {%- if config.persist_column_docs() and model.columns -%}
        {% do clickhouse__persist_docs(mart.relation, model, false, true) %}
    {%- endif -%}

    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {% do adapter.commit() %}
    {{ run_hooks(post_hooks, inside_transaction=False) }}

    {{ return({'relations': [mart.relation]}) }}

{% endmaterialization %}
