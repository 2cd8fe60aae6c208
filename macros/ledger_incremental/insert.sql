{#- Inserting the rows of claimed loads, each row once. -#}

{#- What the statement store holds of the staging view: of all committed objects, or of those of some
    loads. The view reads the whole ledger unless objects are named; with loads alone it takes 0.3 s
    for a million objects of other loads. There is one condition for the bucket and one for the key,
    because raw lines have both as dictionaries, where each costs nothing per line; a pair does. -#}
{% macro stored_lines(view, loads=none) %}
    select * except ({{ places_of_objects() | join(', ') }})
    from {{ view }}
    {%- if loads %}
    {%- set of_loads -%}
        from {{ source('xapi_raw', 'statements') }} where load_id in ({{ loads }})
    {%- endset %}
    where bucket in (select bucket {{ of_loads }})
        and key in (select key {{ of_loads }})
    {%- endif %}
{% endmacro %}

{#- The candidate rows of some loads. -#}
{% macro rows_of_loads(table, loads) %}
    {{ return(
        stored_lines(model_relation('stg_xapi__statements'), loads) if table.loads_from == 'ledger' else table.rows
    ) }}
{% endmacro %}

{#- Columns of the staging view that the store leaves out: source_path has them. -#}
{% macro places_of_objects() %}{{ return(['bucket', 'key']) }}{% endmacro %}

{#- Insert the rows of claimed slices into a table. -#}
{% macro insert_slices(table, relation, slices) %}
    {% do insert_loads(table, relation, claimed_loads(table, slices)) %}
{% endmacro %}

{#- Insert the rows of loads into a table, leaving out those whose key it has.
    loads  a subquery that reads the claim, so that a former holder inserts nothing -#}
{% macro insert_loads(table, relation, loads) %}
    {% do beat_claim(table) %}
    {%- set rows = rows_of_loads(table, loads) -%}
    {%- set columns = columns_of(table, relation) -%}
    {% call statement('insert_slices') %}
        {{ run_comment() }}
        insert into {{ relation }} ({{ columns }})
        select {{ columns }}
        from ({{ rows }}) as candidates
        where candidates.load_id in ({{ loads }})
            and {{ parse_is_the_same(table) }}
            {{ 'and not candidates.' ~ is_expired() if table.carries_over }}
            and ({{ table.row_key }}) not in (
                select {{ table.row_key }}
                from {{ relation }}
                where {{ same_keys(table, rows, loads) }}
            )
            {{ without_repeats(table, rows, loads) }}
            {{ 'and not ' ~ is_voided() if table.can_be_voided }}
        settings {{ insert_settings() }}
    {% endcall %}
{% endmacro %}

{#- Condition on candidates: of several of these loads with one key, the first that was committed.
    Only keys that occur more than once are looked at, which avoids sorting all rows. -#}
{% macro without_repeats(table, rows, loads) -%}
    {%- if not table.keeps_lines -%}
        {%- set of_loads -%}
            from ({{ rows }}) as candidates where candidates.load_id in ({{ loads }})
        {%- endset -%}
        {%- set repeated -%}
            select {{ table.row_key }} {{ of_loads }} group by {{ table.row_key }} having count() > 1
        {%- endset -%}
        and (
            ({{ table.row_key }}) not in ({{ repeated }})
            or (load_id, source_path, source_line, source_item) in (
                select argMin(
                    (load_id, source_path, source_line, source_item),
                    (loaded_at, load_id, source_path, source_line, source_item)
                )
                {{ of_loads }} and ({{ table.row_key }}) in ({{ repeated }})
                group by {{ table.row_key }}
            )
        )
    {%- endif -%}
{%- endmacro %}

{#- The same for rows that are costly to read more than once: by sorting them. -#}
{% macro first_of_each(table) -%}
    {%- if not table.keeps_lines -%}
        order by loaded_at, load_id, source_path, source_line, source_item
        limit 1 by {{ table.row_key }}
    {%- endif -%}
{%- endmacro %}

{#- Condition on rows of a table: they have keys of these loads. The scope tells which part of the table
    can have such keys; only keys of the loads are compared, so that memory depends on these loads and
    not on the table. Lines are not compared: reading their keys would mean to parse them again. -#}
{% macro same_keys(table, rows, loads) -%}
    {%- set of_loads = 'from (' ~ rows ~ ') as candidates where load_id in (' ~ loads ~ ')' -%}
    {%- if table.keeps_lines -%}
        {{ table.key_scope }} in ({{ loads }})
    {%- else -%}
        {{ table.key_scope }} in (select {{ table.key_scope }} {{ of_loads }})
        and ({{ table.row_key }}) in (select {{ table.row_key }} {{ of_loads }})
    {%- endif -%}
{%- endmacro %}

{#- The columns of an insert: those of the table, if they have been read, else those of `relation`. -#}
{% macro columns_of(table, relation) %}{{ return(table.columns or column_list(relation)) }}{% endmacro %}

{% macro column_list(relation) %}
    {{ return(adapter.get_columns_in_relation(relation) | map(attribute='quoted') | join(', ')) }}
{% endmacro %}

{#- An insert may touch any number of months. It reads blocks of 8 MiB, since each block costs a
    millisecond for the many columns; it writes blocks of 32 MiB while it still reads, not one large
    one at the end; it sorts on disk what would take more than half a gigabyte; it leaves room on
    the disk; its rows are unique by what it selects, so they are not compared again while parts are
    written; and it evaluates all branches, because with short-circuit evaluation ClickHouse reads
    the JSON again for every branch. -#}
{% macro insert_settings() -%}
    throw_on_max_partitions_per_insert_block = 0,
    preferred_block_size_bytes = 8388608,
    min_insert_block_size_bytes = 33554432,
    max_bytes_before_external_sort = 500000000,
    optimize_on_insert = 0,
    min_free_disk_bytes_to_perform_insert = {{ least_room() }},
    short_circuit_function_evaluation = 'disable'
{%- endmacro %}
