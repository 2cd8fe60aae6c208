{#-
    A table that follows the ledger. Each run applies the committed loads that the table does not
    hold yet:

        committed ──────▶ claimed ─────────────────────────▶ applied
        (ledger)   ▲      (elt_claim__<model>__<number>)     (elt_applied_loads)
                   │          │  rows in, superseded rows out
                   └──────────┘
                   the run fails, dies or is overtaken

    Whatever ends a run halfway, the next one completes it: a load is recorded after its rows are
    in, and rows that are in already are left out the second time. A full refresh and a rebuild fill
    a new table and exchange it, so readers never see a part of it.

    In this folder:
        claim.sql     one run at a time changes a table; what a former holder sends has no effect
        tables.sql    what is known of a table, its id, checks before it is touched
        applied.sql   which loads a table holds
        insert.sql    rows of claimed loads, each once
        replace.sql   new tables, exchange, superseded rows
        voided.sql    rows that a statement voids
        rebuild.sql   ranges of days
        rules.sql     by which rules the rows of a table were made
        expired.sql   rows whose raw lines were removed on purpose

    Config: `order_by`, `partition_by`, `engine` as in dbt-clickhouse, and
        row_key     what one row is, e.g. 'event_id'; a row whose key the table holds is left out
        key_scope   an expression that is equal for rows of equal key; it tells which part of the
                    table has to be searched for it, e.g. 'toStartOfHour(timestamp)'
        can_be_voided
                    whether a statement can void a row: it is left out, or leaves (voided.sql)
        loads_from  'ledger', or the name of the model whose applied loads are the ones to apply
-#}
{% materialization ledger_incremental, adapter='clickhouse' %}

    {%- set existing = load_cached_relation(this) -%}
    {%- set table = describe_table(model, sql) -%}
    {%- set full = is_filled_again(existing) -%}
    {%- set grants = config.get('grants') -%}

    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}

    {%- if flags.EMPTY -%}
        {%- set outcome = build_empty(table, existing) -%}
    {%- else -%}
        {%- if table.loads_from != 'ledger' -%}
            {% do table.update({'upstream': upstream_of(table)}) %}
        {%- endif -%}
        {%- if full -%}
            {%- set outcome = fill_table(table, existing) -%}
        {%- else -%}
            {% do check_columns(table) %}
            {%- set outcome = update_table(table, rebuild_range()) -%}
        {%- endif -%}
    {%- endif -%}

    {% call noop_statement('main', outcome) %}{% endcall %}

    {% do apply_grants(table.relation, grants, should_revoke=should_revoke(existing, full)) %}
    {% do persist_table_docs(table) %}

    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {% do adapter.commit() %}
    {{ run_hooks(post_hooks, inside_transaction=False) }}

    {{ return({'relations': [table.relation]}) }}

{% endmaterialization %}

{#- `--empty` shows that the model builds; no load counts as applied. -#}
{% macro build_empty(table, existing) %}
    {%- if existing is none -%}
        {% do acquire_claim(table) %}
        {% do clickhouse__create_empty_table(False, table.relation, sql, config.get('contract').enforced, 'create_empty') %}
        {% do table.update({'applied_under': new_id(), 'parse': parse_of_view()}) %}
        {% do set_table_id(table.relation, table.applied_under) %}
        {% do record_table(table, table.relation, table.applied_under) %}
        {% do release_claim(table) %}
    {%- else -%}
        {% do run_statement('select * from (' ~ sql ~ ') limit 0') %}
    {%- endif -%}
    {{ return('EMPTY') }}
{% endmacro %}

{#- The table whose applied loads a table takes over, up to date. One model run alone
    (`dbt run --select video_events`) updates it first, so that it sees every load. -#}
{% macro upstream_of(table) %}
    {%- set node = model_node(table.loads_from) -%}
    {%- set upstream = describe_table(node) -%}
    {%- if node.unique_id in selected_resources and not rebuild_range() -%}
        {#- This run has just updated it, by the present rules. (A rebuild applies no new loads.) -#}
        {%- set found = table_state(upstream) -%}
        {% do upstream.update(found) %}
        {% do upstream.update({'made_by': found, 'parse': found.parse}) %}
    {%- else -%}
        {% do update_table(upstream) %}
    {%- endif -%}
    {{ return(upstream) }}
{% endmacro %}

{#- Apply new loads to a table, or rebuild days of it. Returns what was done, in words. -#}
{% macro update_table(table, days=none) %}
    {% do check_rules(table) %}
    {%- if not table.id and load_relation(table.relation) is none -%}
        {{ exceptions.raise_compiler_error(
            'table ' ~ table.relation ~ ' does not exist; build it first: dbt run'
        ) }}
    {%- endif -%}
    {%- if table.id and table.loads_from == 'ledger' -%}{% do check_ledger(table) %}{%- endif -%}
    {%- if not days and not has_new_loads(table) -%}
        {{ return('nothing new') }}
    {%- endif -%}
    {% do acquire_claim(table) %}
    {% do open_table(table, rebuild=days is not none) %}
    {%- if days -%}
        {%- set outcome = rebuild(table, days) -%}
    {%- else -%}
        {%- set outcome = apply_new_loads(table) -%}
    {%- endif -%}
    {% do release_claim(table) %}
    {{ return(outcome) }}
{% endmacro %}

{% macro apply_new_loads(table) %}
    {%- set next = next_horizon(table) -%}
    {%- set slices = claim_new_loads(table, next.all) -%}
    {% do warn_of_expired_loads(table, slices) %}
    {#- Where slices remove rows, sixteen of them share one rewrite of the months concerned. -#}
    {%- for group in slices | batch(16) -%}
        {%- set leaving = leaving_rows(table, group) -%}
        {%- if leaving.partitions or leaving.restored -%}
            {% do apply_and_remove(table, group, leaving) %}
        {%- else -%}
            {%- for slice in group -%}
                {% do insert_slices(table, table.relation, [slice]) %}
                {% do record_loads(table, table.relation, [slice]) %}
            {%- endfor -%}
        {%- endif -%}
    {%- endfor -%}
    {% do table.update(next.horizon) %}
    {% do record_table(table, table.relation, table.id) %}
    {{ return(words_of(slices)) }}
{% endmacro %}

{#- Fill a new table from all loads, then put it in place of the old one. -#}
{% macro fill_table(table, existing) %}
    {% do check_rules(table, full=true) %}
    {% do acquire_claim(table) %}
    {%- set new = {'relation': new_table_of(table), 'id': new_id()} -%}
    {% do table.update({'applied_under': new.id}) %}
    {% do clickhouse__create_empty_table(False, new.relation, sql, config.get('contract').enforced, 'create_new') %}
    {% do set_table_id(new.relation, new.id) %}
    {%- set next = next_horizon(table) -%}
    {%- set slices = claim_new_loads(table, next.all) -%}
    {%- if table.loads_from == 'ledger' -%}
        {% do carry_over_expired_rows(table, new, existing) %}
    {%- endif -%}
    {%- for slice in slices -%}
        {% do insert_slices(table, new.relation, [slice]) %}
        {% do record_loads(table, new.relation, [slice]) %}
    {%- endfor -%}
    {% do table.update(next.horizon) %}
    {%- if table.loads_from == 'ledger' -%}{% do check_expired_loads(table) %}{%- endif -%}
    {%- if existing is none -%}
        {% do record_table(table, new.relation, new.id) %}
        {% do beat_claim(table) %}
        {% do run_statement('rename table ' ~ new.relation ~ ' to ' ~ table.relation ~ cluster_clause()) %}
    {%- else -%}
        {% do put_in_place(table, new) %}
        {% do forget_other_tables(table) %}
    {%- endif -%}
    {% do release_claim(table) %}
    {{ return(words_of(slices)) }}
{% endmacro %}

{% macro words_of(slices) %}
    {{ return(slices | sum(attribute='loads') ~ ' loads, ' ~ slices | sum(attribute='lines') ~ ' lines') }}
{% endmacro %}

{#- Stop when the model yields other columns than the table has: new ones would be dropped. Sets
    table.columns. What the model yields is described, because even of `limit 0` ClickHouse reads what
    is below the joins of a view. The columns of the staging view are known, and describing it would
    mean to plan it. -#}
{% macro check_columns(table) %}
    {%- set columns = adapter.get_columns_in_relation(table.relation) -%}
    {% do table.update({'columns': columns | map(attribute='quoted') | join(', ')}) %}
    {%- set held = columns | map(attribute='name') | list -%}
    {%- if table.loads_from == 'ledger' -%}
        {%- set view = model_relation('stg_xapi__statements') -%}
        {%- set yielded = adapter.get_columns_in_relation(view) | map(attribute='name')
            | reject('in', places_of_objects()) | list -%}
    {%- else -%}
        {%- set yielded = run_statement('describe table (' ~ sql ~ ')').rows | map(attribute=0) | list -%}
    {%- endif -%}
    {%- if held | sort != yielded | sort -%}
        {{ exceptions.raise_compiler_error(
            table.relation ~ ' has other columns than its model yields (only in the model: '
            ~ (yielded | reject('in', held) | join(', ') or 'none') ~ '; only in the table: '
            ~ (held | reject('in', yielded) | join(', ') or 'none') ~ '); run it once with --full-refresh'
        ) }}
    {%- endif -%}
{% endmacro %}

{#- The comment of a table is its id; descriptions come before it. -#}
{% macro persist_table_docs(table) %}
    {%- if config.persist_column_docs() and model.columns -%}
        {% do clickhouse__persist_docs(table.relation, model, false, true) %}
    {%- endif -%}
    {%- if config.persist_relation_docs() and model.description -%}
        {%- set id = run_statement('select id from (' ~ id_of(table.relation) ~ ')').rows -%}
        {%- if id -%}
            {%- set comment = clickhouse_escape_comment(model.description ~ ' ' ~ table_comment(id[0][0])) -%}
            {% do run_statement(one_alter_relation(table.relation, 'modify comment ' ~ comment)) %}
        {%- endif -%}
    {%- endif -%}
{% endmacro %}
