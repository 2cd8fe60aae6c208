{#- Remove the rows of superseded objects from a table: of objects that were loaded again, and of
    versions whose earlier commit became visible late. Only loads that the table holds are compared,
    so that the new rows are in the table before the old ones go. Therefore only newly applied loads
    can supersede something; the slices that were checked for it are recorded, too. -#}

{#- Select: slices (run and number) of applied loads that were not checked yet. -#}
{% macro unsettled_slices(table, uuid) %}
    select distinct run_id, slice
    from {{ load_applications() }}
    where {{ of_table(table, uuid, 'applied') }}
        and (run_id, slice) not in (
            select run_id, slice from {{ load_applications() }} where {{ of_table(table, uuid, 'settled') }}
        )
{% endmacro %}

{#- Whether the loads of these slices (SQL tuples) may supersede objects of the table: it holds
    several loads of a key, of which one replaces others or two have the same version. -#}
{% macro may_supersede(table, uuid, slices) %}
    {%- set held = applied_loads(table, uuid) -%}
    {{ return(run_statement("
        select count()
        from (
            select bucket, key
            from (" ~ commits(held, objects_of_slices(table, uuid, slices)) ~ ")
            group by bucket, key
            having count() > 1
                and (countIf(policy in ('replace', 'force')) > 0 or count() > uniqExact(etag))
        )
    ").rows[0][0] | int > 0) }}
{% endmacro %}

{#- The keys of the objects of some loads, as a select. -#}
{% macro objects_of_loads(loads) -%}
    select bucket, key from {{ source('xapi_raw', 'loads') }} where load_id in ({{ loads }})
{%- endmacro %}

{#- Select: the keys of the objects in slices of a table. -#}
{% macro objects_of_slices(table, uuid, slices) -%}
    {{ objects_of_loads(applied_loads(table, uuid) ~ ' and (run_id, slice) in (' ~ slices | join(', ') ~ ')') }}
{%- endmacro %}

{#- Select: objects in the loads of the table whose rows it must not hold (only of these objects, if
    given). -#}
{% macro objects_to_give_up(table, uuid, objects=none) %}
    select distinct bucket, key, load_id
    from ({{ unseen_objects(applied_loads(table, uuid), objects) }})
    where is_superseded or is_repeated
{% endmacro %}

{#- Select: loads of the table with superseded objects whose rows it still holds, limited to objects
    that these slices loaded again (no slices: all). A load is checked again when more of its
    objects are superseded than last time, so all of its objects are counted. -#}
{% macro loads_to_withdraw(table, uuid, slices) %}
    {%- set objects = none -%}
    {%- if slices -%}
        {%- set brought = objects_to_give_up(table, uuid, objects_of_slices(table, uuid, slices)) -%}
        {%- set objects = objects_of_loads('select load_id from (' ~ brought ~ ')') -%}
    {%- endif -%}
    select
        load_id,
        count() as objects
    from ({{ objects_to_give_up(table, uuid, objects) }})
    group by load_id
    having (load_id, objects) not in (
        select load_id, lines from {{ load_applications() }} where {{ of_table(table, uuid, 'withdrawn') }}
    )
{% endmacro %}

{#- Condition on rows: their line belongs to an object of these loads that was superseded. -#}
{% macro is_superseded(table, uuid, loads) -%}
    (load_id, source_path) in (
        select load_id, if(bucket = '', key, concat(bucket, '/', key))
        from ({{ objects_to_give_up(table, uuid, objects_of_loads(loads)) }})
    )
{%- endmacro %}

{#- Remove the rows of superseded objects. An event that another visible line contains stays, with
    that line as its source; all months change at once. Returns what was done, in words. -#}
{% macro withdraw_superseded(table, rows, row_key, partition) %}
    {%- set uuid = bookkeeping_uuid(table) -%}
    {#- As many slices as one statement names. -#}
    {%- set most = 500 -%}
    {%- set slices = [] -%}
    {%- for row in run_statement(unsettled_slices(table, uuid)).rows -%}
        {% do slices.append("(toUUID('" ~ row[0] ~ "'), " ~ row[1] ~ ')') %}
    {%- endfor -%}
    {%- if not slices -%}
        {{ return('') }}
    {%- endif -%}
    {#- The replica of the ledger that is queried must hold what has been applied. -#}
    {% do sync_replicas(source('xapi_raw', 'loads')) %}
    {%- set done = '' -%}
    {#- With more slices (the first run that records this) all objects are compared. -#}
    {%- if slices | length > most or may_supersede(table, uuid, slices) -%}
        {%- set done = give_up_superseded(
            table, uuid, slices if slices | length <= most else [], rows, row_key, partition
        ) -%}
    {%- endif -%}
    {%- for part in slices | batch(most) -%}
        {% do run_statement("
            insert into " ~ load_applications() ~ " (model, table_uuid, state, run_id, slice)
            select '" ~ table.identifier ~ "', '" ~ uuid ~ "', 'settled', looked_at.1, looked_at.2
            from (select arrayJoin([" ~ part | join(', ') ~ "]) as looked_at)
        ") %}
    {%- endfor -%}
    {{ return(done) }}
{% endmacro %}

{#- The same for a table that may hold some, superseded by the loads of these slices (no slices: of
    any). -#}
{% macro give_up_superseded(table, uuid, slices, rows, row_key, partition) %}
    {#- Record them first: objects that are superseded meanwhile are left to the next run. -#}
    {% do record_withdrawal(table, uuid, 'withdrawing', loads_to_withdraw(table, uuid, slices)) %}
    {%- set of_this_run = of_table(table, uuid, 'withdrawing') ~ " and run_id = '" ~ invocation_id ~ "'" -%}
    {%- set loads = 'select load_id, max(lines) as objects from ' ~ load_applications()
        ~ ' where ' ~ of_this_run ~ ' group by load_id' -%}
    {%- set waiting = run_statement('select count() from (' ~ loads ~ ')').rows[0][0] | int -%}
    {%- if not waiting -%}
        {{ return('') }}
    {%- endif -%}
    {%- set superseded = is_superseded(
        table, uuid, 'select load_id from ' ~ load_applications() ~ ' where ' ~ of_this_run
    ) -%}
    {%- if 'source_line' in row_key -%}
        {% do run_statement('delete from ' ~ table ~ ' where ' ~ superseded) %}
    {%- else -%}
        {%- set scope = row_key ~ ' in (select ' ~ row_key ~ ' from ' ~ table ~ ' where ' ~ superseded ~ ')' -%}
        {%- set partitions = run_statement(
            'select distinct ' ~ partition ~ ' from ' ~ table ~ ' where ' ~ superseded
        ).rows | map(attribute=0) | list -%}
        {%- if partitions -%}
            {% do replace_rows(table, rows, scope, scope, row_key, partition, partitions) %}
        {%- endif -%}
    {%- endif -%}
    {% do record_withdrawal(table, uuid, 'withdrawn', loads) %}
    {{ return(', removed superseded objects of ' ~ waiting ~ ' loads') }}
{% endmacro %}

{#- Record loads (select of load_id, objects) whose superseded objects are or were removed. -#}
{% macro record_withdrawal(table, uuid, state, loads) %}
    {% do run_statement("
        insert into " ~ load_applications() ~ "
            (model, table_uuid, state, run_id, slice, load_id, committed_at, lines)
        select '" ~ table.identifier ~ "', '" ~ uuid ~ "', '" ~ state ~ "', '" ~ invocation_id ~ "',
            0, load_id, now64(3, 'UTC'), objects
        from (" ~ loads ~ ")
    ") %}
{% endmacro %}
