{#- Which loads each table holds, in `load_applications`: rows 'started' say what a run is about to
    apply, rows 'applied' what it has applied. A load counts as applied to one table, known by its
    UUID: a table that was dropped, or replaced by a full refresh, starts without any. A table that
    replaces another one and holds its loads continues under the UUID of that table, by a row in
    `continued_tables` that is written before the two are exchanged. -#}

{% macro load_applications() -%}
    {{ target.schema }}.load_applications
{%- endmacro %}

{% macro continued_tables() -%}
    {{ target.schema }}.continued_tables
{%- endmacro %}

{#- Create both if they do not exist: once a run, because on a cluster it takes time. `dbt test`
    builds nothing, and the database may not exist. -#}
{% macro create_bookkeeping() %}
    {%- if execute and flags.WHICH != 'test' -%}
    {% do run_statement("
        create table if not exists " ~ load_applications() ~ cluster_clause() ~ "
        (
            model LowCardinality(String) comment 'Table that the load was applied to',
            table_uuid UUID comment 'Which table of that name: a full refresh makes a new one',
            state LowCardinality(String) comment 'started (a run applies the load), applied, withdrawing or withdrawn (rows of superseded objects are being removed or were removed; lines counts these objects), or settled (the slice was checked for superseded objects)',
            run_id UUID comment 'dbt invocation',
            slice UInt32 comment 'Insert of the run that took the load, from 0',
            load_id UUID comment 'The load',
            committed_at DateTime64(3, 'UTC') comment 'When the load was committed',
            lines UInt64 comment 'Lines of the load',
            first_event Nullable(DateTime64(3, 'UTC')) comment 'Earliest event of the load, where the model knows it',
            last_event Nullable(DateTime64(3, 'UTC')) comment 'Latest event of the load, where the model knows it',
            recorded_at DateTime64(3, 'UTC') default now64(3, 'UTC') comment 'When this row was written'
        )
        engine = " ~ engine_name('MergeTree') ~ "
        order by (model, table_uuid, state, run_id, load_id)
        comment 'Which loads each table holds'
    ") %}
    {% do run_statement("
        create table if not exists " ~ continued_tables() ~ cluster_clause() ~ "
        (
            table_uuid UUID comment 'A table that replaced another one and holds its loads',
            kept_under UUID comment 'Its UUID in load_applications: that of the first of these tables',
            recorded_at DateTime64(3, 'UTC') default now64(3, 'UTC') comment 'When this row was written'
        )
        engine = " ~ engine_name('MergeTree') ~ "
        order by table_uuid
        comment 'Tables whose bookkeeping continues under another UUID'
    ") %}
    {%- endif -%}
{% endmacro %}

{#- The UUID of a table. -#}
{% macro table_uuid(relation) %}
    {{ return(only_uuid(relation, 'select toString(uuid) from (' ~ uuid_of(relation) ~ ')')) }}
{% endmacro %}

{#- The UUID under which the bookkeeping of a table is kept: its own, or that of the table that it
    continues. -#}
{% macro bookkeeping_uuid(relation) %}
    {{ return(only_uuid(relation, "
        select toString(if(empty(continued.kept_under), named.uuid, continued.kept_under))
        from (" ~ uuid_of(relation) ~ ") as named
        left join " ~ continued_tables() ~ " as continued on named.uuid = continued.table_uuid
    ")) }}
{% endmacro %}

{#- The UUID of a table as a select, which has no row where there is no such table. -#}
{% macro uuid_of(relation) -%}
    select uuid from system.tables
    where database = '{{ relation.schema }}' and name = '{{ relation.identifier }}'
{%- endmacro %}

{#- The UUID of a table that a query returns. -#}
{% macro only_uuid(relation, question) %}
    {%- set rows = run_statement(question).rows -%}
    {%- if not rows -%}
        {{ exceptions.raise_compiler_error(
            'table ' ~ relation ~ ' does not exist; build it first: dbt run'
        ) }}
    {%- endif -%}
    {{ return(rows[0][0]) }}
{% endmacro %}

{#- Record that a new table holds the loads of the one that it is about to replace. -#}
{% macro continue_bookkeeping(table, new_table) %}
    {% do run_statement(
        'insert into ' ~ continued_tables() ~ ' (table_uuid, kept_under) '
        ~ "select '" ~ table_uuid(new_table) ~ "', '" ~ bookkeeping_uuid(table) ~ "'"
    ) %}
{% endmacro %}

{#- Condition on load_applications: rows of this table in this state. -#}
{% macro of_table(place, uuid, state) -%}
    model = '{{ place.identifier }}' and table_uuid = '{{ uuid }}' and state = '{{ state }}'
{%- endmacro %}

{#- The loads that a table holds, as a subquery. -#}
{% macro applied_loads(place, uuid) -%}
    select load_id from {{ load_applications() }} where {{ of_table(place, uuid, 'applied') }}
{%- endmacro %}

{#- All loads that a table can apply: those of the ledger, or those that a model has applied. -#}
{% macro available_loads(loads_from) %}
    {%- if loads_from == 'ledger' -%}
        select load_id, min(committed_at) as committed_at, sum(rows) as lines
        from {{ source('xapi_raw', 'loads') }}
        where outcome = 'committed'
        group by load_id
    {%- else -%}
        {%- set upstream = model_relation(loads_from) -%}
        select load_id, min(committed_at) as committed_at, any(lines) as lines
        from {{ load_applications() }}
        where {{ of_table(upstream, bookkeeping_uuid(upstream), 'applied') }}
        group by load_id
    {%- endif -%}
{% endmacro %}

{#- Loads that the table does not hold. -#}
{% macro new_loads(place, uuid, loads_from) %}
    select load_id, committed_at, lines
    from ({{ available_loads(loads_from) }})
    where load_id not in ({{ applied_loads(place, uuid) }})
{% endmacro %}

{#- Decide which loads are applied now, in slices of var slice_lines lines (a larger load is a slice
    of its own), numbered on from those that this run has made before.
    Returns the slices: number, loads, lines. -#}
{% macro start_loads(place, uuid, loads_from) %}
    {%- set of_this_run = of_table(place, uuid, 'started') ~ " and run_id = '" ~ invocation_id ~ "'" -%}
    {%- set first_slice = run_statement(
        'select if(count() > 0, max(slice) + 1, 0) from ' ~ load_applications() ~ ' where ' ~ of_this_run
    ).rows[0][0] -%}
    {% do run_statement("
        insert into " ~ load_applications() ~ "
            (model, table_uuid, state, run_id, slice, load_id, committed_at, lines)
        select
            '" ~ place.identifier ~ "', '" ~ uuid ~ "', 'started', '" ~ invocation_id ~ "',
            " ~ first_slice ~ " + intDiv(
                sum(lines) over (order by committed_at, load_id rows unbounded preceding) - lines,
                " ~ (var('slice_lines') | int) ~ "
            ),
            load_id, committed_at, lines
        from (" ~ new_loads(place, uuid, loads_from) ~ ")
    ") %}
    {%- set slices = [] -%}
    {%- for row in run_statement("
        select slice, uniqExact(load_id), sum(lines)
        from " ~ load_applications() ~ "
        where " ~ of_this_run ~ " and slice >= " ~ first_slice ~ "
        group by slice order by slice
    ").rows -%}
        {% do slices.append({'number': row[0], 'loads': row[1] | int, 'lines': row[2] | int}) %}
    {%- endfor -%}
    {{ return(slices) }}
{% endmacro %}

{#- The loads of a slice, as a subquery. -#}
{% macro loads_of_slice(place, uuid, slice) -%}
    select load_id from {{ load_applications() }}
    where {{ of_table(place, uuid, 'started') }} and run_id = '{{ invocation_id }}' and slice = {{ slice }}
{%- endmacro %}

{#- Record the loads of a slice as applied. -#}
{% macro record_loads(place, table, uuid, slice) %}
    {% do record_applied(
        place, table, uuid, of_table(place, uuid, 'started')
        ~ " and run_id = '" ~ invocation_id ~ "' and slice = " ~ slice
    ) %}
{% endmacro %}

{#- Record loads as applied, by rows of load_applications that meet a condition; the statement
    store adds the time span of their events, by which a rebuild of days finds them. -#}
{% macro record_applied(place, table, uuid, condition) %}
    {%- set has_span = place.identifier == statement_store() -%}
    {%- set loads = 'select load_id from ' ~ load_applications() ~ ' where ' ~ condition -%}
    {% do run_statement("
        insert into " ~ load_applications() ~ "
            (model, table_uuid, state, run_id, slice, load_id, committed_at, lines, first_event, last_event)
        select
            model, table_uuid, 'applied', '" ~ invocation_id ~ "', slice, load_id, committed_at, lines, "
            ~ ('spans.first_event, spans.last_event' if has_span else 'null, null') ~ "
        from " ~ load_applications() ~ " as recorded "
        ~ ("
        left join (
            select load_id, min(timestamp) as first_event, max(timestamp) as last_event
            from " ~ table ~ "
            where load_id in (" ~ loads ~ ")
            group by load_id
        ) as spans on recorded.load_id = spans.load_id" if has_span else '') ~ "
        where " ~ condition ~ "
        settings join_use_nulls = 1
    ") %}
{% endmacro %}

{#- The model whose table holds every committed line, parsed. -#}
{% macro statement_store() %}{{ return('int_xapi__statements') }}{% endmacro %}

{#- Select: the rows of the staging view that this model stores, of all committed objects or of
    those in some loads. The view reads the whole ledger unless there is a condition on its objects;
    with a condition on loads alone it takes 0.3 s for a million objects of other loads. There is
    one condition for bucket and one for key, because raw lines store both as dictionaries: each
    costs nothing per line, a condition on the pair does. -#}
{% macro stored_lines(view, loads=none) %}
    select * except (bucket, key)
    from {{ view }}
    {%- if loads %}
    {%- set of_loads -%}
        from {{ source('xapi_raw', 'statements') }} where load_id in ({{ loads }})
    {%- endset %}
    where bucket in (select bucket {{ of_loads }})
        and key in (select key {{ of_loads }})
    {%- endif %}
{% endmacro %}

{#- Stop if an earlier version of the project made the staging view: a run of one table does not
    create it again. -#}
{% macro check_staging_view() %}
    {%- set view = model_relation('stg_xapi__statements') -%}
    {%- set columns = adapter.get_columns_in_relation(view) | map(attribute='name') | list -%}
    {%- if 'bucket' not in columns or 'key' not in columns -%}
        {{ exceptions.raise_compiler_error(
            view ~ ' does not exist, or an earlier version of the project made it; create it again: '
            ~ 'dbt run --select stg_xapi__statements'
        ) }}
    {%- endif -%}
{% endmacro %}

{#- Apply new loads to the model from which others take theirs, so that a run of one of these alone
    (`dbt run --select video_events`) applies every committed load. -#}
{% macro apply_new_loads_upstream(name) %}
    {%- set node = model_node(name) -%}
    {%- set relation = model_relation(name) -%}
    {%- if loads_waiting(relation) -%}
        {% do check_staging_view() %}
        {% do acquire_lock(relation) %}
        {#- Another model of this run may have done it meanwhile. -#}
        {%- if loads_waiting(relation) -%}
            {%- set rows = stored_lines(model_relation('stg_xapi__statements')) -%}
            {% do apply_new_loads(
                relation, relation, rows, node.config.row_key, node.config.key_scope, 'ledger'
            ) %}
            {% do withdraw_superseded(
                relation, rows, node.config.row_key, node.config.partition_by
            ) %}
        {%- endif -%}
        {% do release_lock(relation) %}
    {%- endif -%}
{% endmacro %}

{#- How much work a table has: the number of loads to apply and of applied slices to check for
    superseded objects. -#}
{% macro loads_waiting(relation) %}
    {%- set uuid = bookkeeping_uuid(relation) -%}
    {{ return(run_statement("
        select
            (select count() from (" ~ new_loads(relation, uuid, 'ledger') ~ "))
            + (select count() from (" ~ unsettled_slices(relation, uuid) ~ "))
    ").rows[0][0] | int) }}
{% endmacro %}

{#- A model of this project by its name; a project that installs this one as a package may have
    another of that name. -#}
{% macro model_node(name) %}
    {{ return(graph.nodes['model.xapi_elt.' ~ name]) }}
{% endmacro %}

{% macro model_relation(name) %}
    {%- set node = model_node(name) -%}
    {{ return(api.Relation.create(schema=node.schema, identifier=node.alias, type='table')) }}
{% endmacro %}
