{#- Objects that were loaded anew in place of what a table holds of them, and versions whose earlier
    commit came into sight late: the rows that a table holds of them go. Only loads that the table
    holds are asked which those are: what takes their place is there before they go. So only loads
    newly applied can bring some up; which slices have been looked at for it is recorded, too. -#}

{#- Slices (run and number) of applied loads that have not been looked at, as a select. -#}
{% macro unsettled_slices(table, uuid) %}
    select distinct run_id, slice
    from {{ load_applications() }}
    where {{ of_table(table, uuid, 'applied') }}
        and (run_id, slice) not in (
            select run_id, slice from {{ load_applications() }} where {{ of_table(table, uuid, 'settled') }}
        )
{% endmacro %}

{#- Whether these slices (SQL tuples) may have brought up objects that the table has to give up: it
    holds several loads of a key, one that takes the place of others or two of one version. -#}
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

{#- The keys of the objects that slices of a table brought, as a select. -#}
{% macro objects_of_slices(table, uuid, slices) -%}
    {{ objects_of_loads(applied_loads(table, uuid) ~ ' and (run_id, slice) in (' ~ slices | join(', ') ~ ')') }}
{%- endmacro %}

{#- What the table must not hold of the loads that it holds (of these objects only, if given), as a
    select. -#}
{% macro objects_to_give_up(table, uuid, objects=none) %}
    select distinct bucket, key, load_id
    from ({{ unseen_objects(applied_loads(table, uuid), objects) }})
    where is_superseded or is_repeated
{% endmacro %}

{#- Loads of the table with superseded objects that it has not given up yet, of those whose objects
    these slices brought anew (no slices: of all). A load is looked at again when more of its objects are
    superseded than last time, so all of its objects are counted. -#}
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

{#- Give up the rows of superseded objects. An event that another visible line says too stays,
    with that line as its source; all months change at once. Returns what was done, in words. -#}
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
    {#- The ledger that is asked must hold what has been applied. -#}
    {% do sync_replicas(source('xapi_raw', 'loads')) %}
    {%- set done = '' -%}
    {#- Of more (the first run that records this) all objects are looked at. -#}
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

{#- The same for a table of which it is known that it may hold some, brought up by these slices
    (no slices: by any). -#}
{% macro give_up_superseded(table, uuid, slices, rows, row_key, partition) %}
    {#- Which they are is fixed first: one superseded meanwhile is left to the next run. -#}
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
    {{ return(', gave up superseded objects of ' ~ waiting ~ ' loads') }}
{% endmacro %}

{#- Record loads (select of load_id, objects) of which superseded objects are or were given up. -#}
{% macro record_withdrawal(table, uuid, state, loads) %}
    {% do run_statement("
        insert into " ~ load_applications() ~ "
            (model, table_uuid, state, run_id, slice, load_id, committed_at, lines)
        select '" ~ table.identifier ~ "', '" ~ uuid ~ "', '" ~ state ~ "', '" ~ invocation_id ~ "',
            0, load_id, now64(3, 'UTC'), objects
        from (" ~ loads ~ ")
    ") %}
{% endmacro %}
