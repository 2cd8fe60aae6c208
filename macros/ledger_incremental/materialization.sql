{#- A table that follows the ledger: each run applies the committed loads that the table does not
    hold yet and then records them as applied (macros/ledger_incremental/bookkeeping.sql).

    Config: `order_by`, `partition_by`, `engine` as in dbt-clickhouse, and
      row_key     what identifies a row, e.g. 'event_id'; a row whose key the table holds is left out
      key_scope   columns or expressions equal for rows of equal key; they tell which part of the
                  table has to be searched for it, e.g. ['section_id', 'timestamp']
      loads_from  'ledger', or the name of the model whose applied loads are the ones to apply

    If a run dies, the next one completes it: loads are recorded after their rows are inserted, and
    rows that were inserted before are left out the second time. A full refresh fills a new table
    and exchanges it; applied loads belong to the UUID of a table, so rows and bookkeeping change at
    the same moment. -#}
{% materialization ledger_incremental, adapter='clickhouse' %}

    {%- set existing = load_cached_relation(this) -%}
    {%- set target_table = this.incorporate(type='table') -%}
    {%- set days = rebuild_range() -%}
    {%- set full = existing is none or existing.is_view or should_full_refresh() -%}
    {%- set grants = config.get('grants') -%}

    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}

    {%- if flags.EMPTY -%}
        {#- --empty shows that the model builds; nothing counts as applied. -#}
        {%- if existing is none -%}
            {% do clickhouse__create_empty_table(False, target_table, sql, config.get('contract').enforced, 'create_empty') %}
        {%- else -%}
            {% do run_statement('select * from (' ~ sql ~ ') limit 0') %}
        {%- endif -%}
        {%- set outcome = 'EMPTY' -%}
    {%- else -%}
        {%- if config.require('loads_from') != 'ledger' -%}
            {% do apply_new_loads_upstream(config.require('loads_from')) %}
        {%- else -%}
            {% do check_staging_view() %}
        {%- endif -%}
        {%- if not full -%}
            {% do check_columns(target_table) %}
        {%- endif -%}
        {% do acquire_lock(target_table) %}
        {%- if full -%}
            {%- set outcome = build_anew(existing, target_table) -%}
        {%- elif days -%}
            {%- set outcome = rebuild(target_table, days) -%}
        {%- else -%}
            {%- set outcome = apply_new_loads(
                target_table, target_table, sql, config.require('row_key'),
                config.require('key_scope'), config.require('loads_from')
            ) ~ withdraw_superseded(
                target_table, sql, config.require('row_key'), config.require('partition_by')
            ) -%}
        {%- endif -%}
        {% do release_lock(target_table) %}
    {%- endif -%}

    {% call noop_statement('main', outcome) %}{% endcall %}

    {% do apply_grants(target_table, grants, should_revoke=should_revoke(existing, full)) %}
    {% do persist_docs(target_table, model) %}

    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {% do adapter.commit() %}
    {{ run_hooks(post_hooks, inside_transaction=False) }}

    {{ return({'relations': [target_table]}) }}

{% endmaterialization %}

{#- Stop if the model has other columns than the table: new ones would be dropped. It uses
    `describe`, because even with `limit 0` ClickHouse reads the tables in the joins of a view. -#}
{% macro check_columns(table) %}
    {%- set held = adapter.get_columns_in_relation(table) | map(attribute='name') | list -%}
    {%- set yielded = run_statement('describe table (' ~ sql ~ ')').rows | map(attribute=0) | list -%}
    {%- if held | sort != yielded | sort -%}
        {{ exceptions.raise_compiler_error(
            table ~ ' has other columns than its model (only in the model: '
            ~ (yielded | reject('in', held) | join(', ') or 'none') ~ '; only in the table: '
            ~ (held | reject('in', yielded) | join(', ') or 'none') ~ '); run it once with --full-refresh'
        ) }}
    {%- endif -%}
{% endmacro %}

{#- Fill a new table from all loads, then replace the old one with it. -#}
{% macro build_anew(existing, target_table) %}
    {%- set new_table = make_intermediate_relation(target_table) -%}
    {% do drop_relation_if_exists(load_cached_relation(new_table)) %}
    {% do run_statement('drop table if exists ' ~ new_table ~ on_cluster_clause(new_table)) %}
    {% do clickhouse__create_empty_table(False, new_table, sql, config.get('contract').enforced, 'create_new') %}
    {%- set outcome = apply_new_loads(
        new_table, target_table, sql, config.require('row_key'), config.require('key_scope'),
        config.require('loads_from')
    ) -%}
    {%- if existing is none -%}
        {% do adapter.rename_relation(new_table, target_table) %}
    {%- elif not existing.is_view -%}
        {% do exchange_and_drop(new_table, target_table) %}
    {%- else -%}
        {% do adapter.drop_relation(existing) %}
        {% do adapter.rename_relation(new_table, target_table) %}
    {%- endif -%}
    {{ return(outcome) }}
{% endmacro %}

{#-
    Insert the rows of all loads that `table` does not hold, slice by slice, and record them.

    table  the relation to fill
    place  the relation whose bookkeeping this is: the same, or what a new table will replace
    rows   select with load_id, loaded_at, source_path and source_line besides its columns; from the
           ledger it is `stored_lines`, of the loads of each slice
    Returns what was done, in words.
-#}
{% macro apply_new_loads(table, place, rows, row_key, key_scope, loads_from) %}
    {%- set uuid = bookkeeping_uuid(table) -%}
    {%- set slices = start_loads(place, uuid, loads_from) -%}
    {%- for slice in slices -%}
        {% do beat_lock(place) %}
        {%- set loads = loads_of_slice(place, uuid, slice.number) -%}
        {%- set columns = adapter.get_columns_in_relation(table) | map(attribute='quoted') | join(', ') -%}
        {%- if loads_from == 'ledger' -%}
            {%- set rows = stored_lines(model_relation('stg_xapi__statements'), loads) -%}
        {%- endif -%}
        {% call statement('insert_slice') %}
            {{ run_comment() }}
            insert into {{ table }} ({{ columns }})
            select {{ columns }}
            from ({{ rows }}) as candidates
            where candidates.load_id in ({{ loads }})
                and ({{ row_key }}) not in (
                    select {{ row_key }}
                    from {{ table }}
                    where {{ same_scope(rows, key_scope, loads) }}
                )
                {{ without_repeats(rows, row_key, loads) }}
            settings {{ insert_settings() }}
        {% endcall %}
        {% do record_loads(place, table, uuid, slice.number) %}
    {%- endfor -%}
    {{ return(slices | sum(attribute='loads') ~ ' loads, ' ~ slices | sum(attribute='lines') ~ ' lines') }}
{% endmacro %}

{#- Condition on candidates: of several of these loads with one key, the first that was committed.
    Only keys that occur more than once are looked at, which spares sorting all rows. Rows whose
    key is the line's own place are never doubled within an insert. -#}
{% macro without_repeats(rows, row_key, loads) -%}
    {%- if 'source_line' not in row_key -%}
        {%- set of_loads -%}
            from ({{ rows }}) as candidates where candidates.load_id in ({{ loads }})
        {%- endset -%}
        {%- set repeated -%}
            select {{ row_key }} {{ of_loads }} group by {{ row_key }} having count() > 1
        {%- endset -%}
        and (
            ({{ row_key }}) not in ({{ repeated }})
            or (load_id, source_path, source_line) in (
                select argMin(
                    (load_id, source_path, source_line),
                    (loaded_at, load_id, source_path, source_line)
                )
                {{ of_loads }} and ({{ row_key }}) in ({{ repeated }})
                group by {{ row_key }}
            )
        )
    {%- endif -%}
{%- endmacro %}

{#- The same for rows that are costly to read more than once: by sorting them. -#}
{% macro first_of_each(row_key) -%}
    {%- if 'source_line' not in row_key -%}
        order by loaded_at, load_id, source_path, source_line
        limit 1 by {{ row_key }}
    {%- endif -%}
{%- endmacro %}

{#- The part of the table that can hold keys of these loads. -#}
{% macro same_scope(rows, key_scope, loads) -%}
    {%- for column in key_scope -%}
        {{ 'and ' if not loop.first }}{{ column }} in (
            {{ loads if column == 'load_id' else
                'select ' ~ column ~ ' from (' ~ rows ~ ') as candidates where load_id in (' ~ loads ~ ')' }}
        )
    {% endfor -%}
{%- endmacro %}

{#- Settings of every insert. It may write to any number of months. It reads blocks of 8 MiB,
    because each block costs a millisecond with so many columns, and writes blocks of 32 MiB while
    it still reads, not one large block at the end. It sorts more than half a gigabyte on disk, and
    leaves space on the disk. Its select makes the rows unique, so parts are not deduplicated again
    while they are written. With short-circuit evaluation ClickHouse would parse the JSON again for
    every branch. -#}
{% macro insert_settings() -%}
    throw_on_max_partitions_per_insert_block = 0,
    preferred_block_size_bytes = 8388608,
    min_insert_block_size_bytes = 33554432,
    max_bytes_before_external_sort = 500000000,
    optimize_on_insert = 0,
    min_free_disk_bytes_to_perform_insert = {{ least_room() }},
    short_circuit_function_evaluation = 'disable'
{%- endmacro %}
