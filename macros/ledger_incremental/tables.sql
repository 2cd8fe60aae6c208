{#- What is known of a table, in one dictionary that all macros of this folder take:

    name, relation   the model and its table
    row_key          what one row is, e.g. 'event_id'
    key_scope        an expression that is equal for rows of equal key; it limits the search for a key
    can_be_voided    whether a statement can void a row
    partition_by     partition expression
    loads_from       'ledger', or the model whose applied loads are the ones to apply
    keeps_lines      whether a row is a line of an object, so that its key never occurs twice
    rows             select with the candidate rows
    upstream         the same of the model in loads_from, once it is up to date; none for the ledger
    parse, made_by   set by check_rules: the parse of the rows to come, and the recorded state
    claim, step, beat_at
                     set by acquire_claim: number of the claim, bookkeeping rows written under it, when
                     the run last showed that it is alive
    carries_over, expired
                     set by expired.sql: whether rows of expired loads come from the old table; how
                     many loads had expired
    columns          set by check_columns: the columns of the table, quoted; '' if it is
                     filled again, or is an upstream
    id               set by open_table: the id in the comment of the table
    applied_under    set by open_table: the id under which its applied loads are recorded
    horizon, loads_before_horizon
                     set by open_table: loads committed before the horizon need not be compared again
                     as long as their source has no more rows (applied.sql)

    A table carries its id in its comment, because that survives EXCHANGE, RENAME and RESTORE. -#}
{% macro describe_table(node, rows=none) %}
    {{ return({
        'name': node.name,
        'relation': table_relation(node),
        'row_key': node.config.row_key,
        'key_scope': node.config.key_scope,
        'can_be_voided': node.config.can_be_voided,
        'partition_by': node.config.partition_by,
        'loads_from': node.config.loads_from,
        'keeps_lines': 'source_line' in node.config.row_key,
        'rows': rows if rows else stored_lines(model_relation('stg_xapi__statements')),
        'upstream': none,
        'carries_over': false,
        'claim': 0,
        'columns': '',
        'id': '',
        'applied_under': nil_id(),
        'horizon': '1970-01-01',
        'loads_before_horizon': 0,
    }) }}
{% endmacro %}

{% macro elt_tables() -%}{{ target.schema }}.elt_tables{%- endmacro %}

{% macro elt_applied_loads() -%}{{ target.schema }}.elt_applied_loads{%- endmacro %}

{#- Create the bookkeeping, unless it is there: once a run, because on a cluster each statement takes
    its time. A run of tests builds nothing, and its database may not exist. -#}
{% macro create_bookkeeping() %}
    {%- if execute and flags.WHICH != 'test' -%}
        {%- set applied_loads -%}
            create table if not exists {{ elt_applied_loads() }}{{ cluster_clause() }}
            (
                model LowCardinality(String) comment 'Table that holds the load',
                table_id UUID comment 'Id of the table that first held it; a rebuilt table keeps it, a full refresh starts another',
                load_id UUID comment 'The load',
                committed_at DateTime64(3, 'UTC') comment 'When the load was committed',
                lines UInt64 comment 'Lines of the load',
                step LowCardinality(String) comment 'What recorded it: run, or rebuild (again, with another time span)',
                run_id String comment 'dbt invocation',
                claim UInt64 comment 'Number of the claim under which the run worked',
                first_event Nullable(DateTime64(3, 'UTC')) comment 'Earliest event of the load, where the model knows it',
                last_event Nullable(DateTime64(3, 'UTC')) comment 'Latest event of the load, where the model knows it',
                recorded_at DateTime64(3, 'UTC') default now64(3, 'UTC') comment 'When this row was written',
                projection by_day (
                    select model, table_id, step, toDate(committed_at) as day, count()
                    group by model, table_id, step, day
                )
            )
            engine = {{ engine_name('MergeTree') }}
            order by (model, table_id, committed_at, load_id)
            settings lightweight_mutation_projection_mode = 'rebuild'
            comment 'Which loads each table holds'
        {%- endset -%}
        {%- set tables -%}
            create table if not exists {{ elt_tables() }}{{ cluster_clause() }}
            (
                model LowCardinality(String) comment 'The table',
                table_id UUID comment 'Id in the comment of the table',
                applied_under UUID comment 'table_id of its rows in elt_applied_loads',
                identity_rule UInt32 comment 'Version of the rule that makes event ids',
                parse String comment 'Hash of the parse that made its rows',
                table_rows UInt64 comment 'Rows of the table when this row was written; 0 while a run removes some',
                horizon Date comment 'The table holds all loads that were committed before this UTC day',
                loads_before_horizon UInt64 comment 'How many rows the source of its loads had from before that day; if it has more now, a load became visible late',
                claim UInt64 comment 'Number of the claim under which this was written',
                version UInt64 comment 'Order of the rows of a table: claim times 1,000,000, and a step',
                run_id String comment 'dbt invocation',
                recorded_at DateTime64(3, 'UTC') default now64(3, 'UTC') comment 'When this row was written'
            )
            engine = {{ engine_name('ReplacingMergeTree') }}(version)
            order by (model, table_id)
            comment 'The tables that follow the ledger; the row with the highest version counts'
        {%- endset -%}
        {% do run_statement(applied_loads) %}
        {% do run_statement(tables) %}
        {% do drop_old_bookkeeping() %}
    {%- endif -%}
{% endmacro %}

{#- Read what the bookkeeping knows of a claimed table; stops if the table does not hold what it
    should. Sets table.id and table.applied_under.
    rebuild  days of it are filled again, which may be what repairs it: warn instead -#}
{% macro open_table(table, rebuild=false) %}
    {%- set found = table_state(table, count=true) -%}
    {%- if table.columns and found.id != table.id -%}
        {#- Another run put another table in its place since its columns were checked. -#}
        {% do check_columns(table) %}
    {%- endif -%}
    {% do table.update(found) %}
    {% do table.update({'made_by': found}) %}
    {% do check_visible_rows(table.relation) %}
    {%- if found.visible < found.table_rows -%}
        {%- set text = table.relation ~ ' has ' ~ found.visible ~ ' rows, but ' ~ found.table_rows ~ ' when dbt last changed '
            ~ 'it: rows were deleted, or it was restored without ' ~ elt_tables() ~ '. ' ~ remedy_of_lost_rows(table) -%}
        {%- if rebuild -%}
            {% do exceptions.warn(text ~ '. Only the days of this run are filled again now') %}
        {%- else -%}
            {#- Other models of this run need not wait until they find the same. -#}
            {% do release_claim(table) %}
            {{ exceptions.raise_compiler_error(text ~ '. Nothing was done') }}
        {%- endif -%}
    {%- endif -%}
    {{ return(found) }}
{% endmacro %}

{#- The latest state of a table: id ('' if it has none), applied_under, table_rows, identity_rule, parse,
    horizon, loads_before_horizon; and if it is to be counted, how many rows are visible. -#}
{% macro table_state(table, count=false) %}
    {%- set sql -%}
        select
            named.id,
            toString(argMax(known.applied_under, known.version)),
            argMax(known.table_rows, known.version),
            argMax(known.identity_rule, known.version),
            argMax(known.parse, known.version),
            toString(argMax(known.horizon, known.version)),
            argMax(known.loads_before_horizon, known.version),
            {{ '(select count() from ' ~ table.relation ~ ')' if count else '0' }}
        from ({{ id_of(table.relation) }}) as named
        inner join {{ elt_tables() }} as known
            on known.model = '{{ table.name }}' and toString(known.table_id) = named.id
        group by named.id
    {%- endset -%}
    {%- set rows = run_statement(sql).rows -%}
    {%- if not rows -%}
        {{ return({'id': '', 'applied_under': nil_id(), 'horizon': '1970-01-01', 'loads_before_horizon': 0}) }}
    {%- endif -%}
    {{ return({
        'id': rows[0][0], 'applied_under': rows[0][1], 'table_rows': rows[0][2] | int,
        'identity_rule': rows[0][3] | int, 'parse': rows[0][4],
        'horizon': rows[0][5], 'loads_before_horizon': rows[0][6] | int, 'visible': rows[0][7] | int,
    }) }}
{% endmacro %}

{#- The id in the comment of a table, as a select; no row if there is no such table or no id. -#}
{% macro id_of(relation) -%}
    select extract(comment, '\\[table ([0-9a-f-]+)\\]') as id
    from system.tables
    where database = '{{ relation.schema }}' and name = '{{ relation.identifier }}' and id != ''
{%- endmacro %}

{#- Record the present state of a table: which parse made it and how many rows it has. The statement
    reads the claim, so a former holder records nothing, and it fails if the table whose applied loads
    were read has been filled again since: some statements may have found none of them. Every change
    of a table records it before an exchange, or as the last thing.
    count  whether to count the rows: no before some are removed -#}
{% macro record_table(table, relation, id, count=true) %}
    {% do table.update({'step': table.step + 1}) %}
    {%- set sql -%}
        insert into {{ elt_tables() }}
            (
                model, table_id, applied_under, identity_rule, parse, table_rows, horizon,
                loads_before_horizon, claim, version, run_id
            )
        select
            '{{ table.name }}', '{{ id }}', '{{ table.applied_under }}', {{ identity_rule() }}, '{{ table.parse }}',
            {{ '(select count() from ' ~ relation ~ ')' if count else '0' }},
            '{{ table.horizon }}', {{ table.loads_before_horizon }},
            {{ table.claim }}, {{ table.claim * 1000000 + table.step }}, '{{ invocation_id }}'
        from (select count() from {{ claim_of(table) }})
        where {{ parse_is_the_same(table) }}
        {%- if table.upstream %}
            and throwIf(
                (
                    select toString(argMax(applied_under, version)) from {{ elt_tables() }}
                    where model = '{{ table.upstream.name }}'
                        and toString(table_id) in ({{ id_of(table.upstream.relation) }})
                ) != '{{ table.upstream.applied_under }}',
                'another run filled {{ table.upstream.name }} again while this one read it; run the same command again'
            ) = 0
        {%- endif %}
    {%- endset -%}
    {% do run_statement(sql) %}
{% endmacro %}

{#- Give a table its id. -#}
{% macro set_table_id(relation, id) %}
    {% do run_statement(
        'alter table ' ~ relation ~ cluster_clause() ~ " modify comment '" ~ table_comment(id) ~ "'"
    ) %}
{% endmacro %}

{% macro table_comment(id) -%}[table {{ id }}]{%- endmacro %}

{% macro nil_id() %}{{ return('00000000-0000-0000-0000-000000000000') }}{% endmacro %}

{#- A new id. -#}
{% macro new_id() %}{{ return(run_statement('select toString(generateUUIDv4())').rows[0][0]) }}{% endmacro %}

{#- The version of the rule by which event ids are made (macros/statements/identity.sql). -#}
{% macro identity_rule() %}{{ return(2) }}{% endmacro %}

{#- Drop what releases before 0.2 kept beside the tables, once every table has an id. -#}
{% macro drop_old_bookkeeping() %}
    {%- set tables = [] -%}
    {%- for node in graph.nodes.values() if node.config.materialized == 'ledger_incremental' -%}
        {% do tables.append("('" ~ node.schema ~ "', '" ~ node.alias ~ "')") %}
    {%- endfor -%}
    {%- set names = run_statement("
        select name from system.tables
        where database = '" ~ target.schema ~ "'
            and match(name, '^(load_applications|continued_tables|__lock_.+|__expired_lock_.+)$')
            and (
                select count() from system.tables
                where (database, name) in (" ~ tables | join(', ') ~ ")
                    and extract(comment, '\\[table ([0-9a-f-]+)\\]') = ''
            ) = 0
    ").rows | map(attribute=0) | list -%}
    {%- for name in names -%}
        {% do run_statement('drop table if exists ' ~ target.schema ~ '.`' ~ name ~ '`' ~ cluster_clause()) %}
    {%- endfor -%}
{% endmacro %}

{#- Stop if the user that dbt runs as cannot see all rows of a table: what it does not see, a rebuild
    would remove. -#}
{% macro check_visible_rows(relation) %}
    {%- set state = namespace(hidden=1) -%}
    {#- Rows may be inserted or merged between the two counts. Deleted rows are stored until their
        parts merge, but projections do not count them. -#}
    {%- for attempt in range(3) if state.hidden -%}
        {%- set counts = run_statement("
            select
                (
                    select total_rows from system.tables
                    where database = '" ~ relation.schema ~ "' and name = '" ~ relation.identifier ~ "'
                ) as stored,
                (select count() from " ~ relation ~ ") as visible
            settings apply_deleted_mask = 0, optimize_use_projections = 0
        ").rows[0] -%}
        {%- set state.hidden = (counts[0] or 0) | int > counts[1] | int -%}
        {%- set state.text = counts[1] ~ ' of ' ~ counts[0] -%}
    {%- endfor -%}
    {%- if state.hidden -%}
        {{ exceptions.raise_compiler_error(
            'the user that dbt runs as sees only ' ~ state.text ~ ' rows of ' ~ relation ~ '; a row policy hides the '
            ~ 'others. Give that user a policy of its own: create row policy dbt on ' ~ relation
            ~ ' using 1 to <user>. Nothing was done'
        ) }}
    {%- endif -%}
{% endmacro %}

{#- A model of this project by its name; another project may have one of the same name. -#}
{% macro model_node(name) %}
    {{ return(
        graph.nodes.values() | selectattr('resource_type', 'equalto', 'model')
        | selectattr('package_name', 'equalto', 'xapi_elt') | selectattr('name', 'equalto', name) | first
    ) }}
{% endmacro %}

{% macro model_relation(name) %}
    {{ return(table_relation(model_node(name))) }}
{% endmacro %}

{#- The table of a model. dbt-clickhouse writes `on cluster` only for relations that allow it. -#}
{% macro table_relation(node) %}
    {{ return(api.Relation.create(
        schema=node.schema, identifier=node.alias, type='table', can_on_cluster=cluster_clause() | trim != ''
    )) }}
{% endmacro %}
