{#- One run at a time changes a table. The lock is a table whose comment names its holder: creating
    a table is atomic, and of two runs that create it `if not exists`, the second finds the comment
    of the first. A lock is stale when its holder has been silent for var lock_expires_seconds and
    runs no query; on the embedded engine, which one process owns at a time, when its holder is
    another run. -#}

{% macro lock_of(relation) -%}
    {{ relation.schema }}.`__lock_{{ relation.identifier }}`
{%- endmacro %}

{#- The name of this run in a lock: its id and the model (threads of one run compete, too). -#}
{% macro lock_holder() %}{{ return(invocation_id ~ ' ' ~ model.name) }}{% endmacro %}

{#- Take the lock of a table, waiting for up to var lock_wait_seconds.
    Raises an error that names the holder if the lock is still held then. -#}
{% macro acquire_lock(relation) %}
    {%- set longest = var('lock_wait_seconds') | int -%}
    {%- set state = namespace(mine=false, waited=0.0, logged=false) -%}
    {#- Some thirty pauses are shorter than a second. Not more than needed: Jinja walks them all. -#}
    {%- for attempt in range(longest + 100) if not state.mine and state.waited <= longest -%}
        {%- set lock = read_lock(relation) -%}
        {%- if not lock.holder -%}
            {% do run_statement(
                'create table if not exists ' ~ lock_of(relation) ~ cluster_clause()
                ~ " (nothing UInt8) engine = Memory comment '" ~ lock_holder() ~ "'"
            ) %}
            {%- set state.mine = read_lock(relation).holder == lock_holder() -%}
        {%- elif lock.stale -%}
            {#- The new name stays behind: of two runs that find the same stale lock, one cannot
                rename what the other has just created. -#}
            {{ log('taking over the lock of ' ~ relation ~ ' from run ' ~ lock.holder, info=true) }}
            {% do run_statement(
                'rename table ' ~ lock_of(relation) ~ ' to '
                ~ relation.schema ~ '.`__expired_lock_' ~ relation.identifier ~ '_' ~ lock.holder ~ '`'
                ~ cluster_clause()
            ) %}
        {%- else -%}
            {#- A model of this run will soon be done with it; another run may take minutes. Each look
                costs the one that works its processor, so it looks less often the longer it waits;
                ClickHouse sleeps for three seconds at most. -#}
            {%- set is_ours = lock.holder.startswith(invocation_id) -%}
            {%- if not is_ours and not state.logged -%}
                {{ log('waiting for ' ~ relation ~ ': run ' ~ lock.holder ~ ' is changing it', info=true) }}
                {%- set state.logged = true -%}
            {%- endif -%}
            {%- set pause = [[0.05, state.waited / 10] | max, 1.0] | min if is_ours else 1.0 -%}
            {% do run_statement('select sleep(' ~ pause ~ ')') %}
            {%- set state.waited = state.waited + pause -%}
        {%- endif -%}
    {%- endfor -%}
    {%- if not state.mine -%}
        {{ exceptions.raise_compiler_error(
            relation ~ ' is being changed by run ' ~ read_lock(relation).holder
            ~ '; this run changed nothing there. Wait for it, or raise var lock_wait_seconds (now '
            ~ var('lock_wait_seconds') ~ ')'
        ) }}
    {%- endif -%}
    {% do drop_expired_locks(relation) %}
{% endmacro %}

{#- The state of the lock: its holder ('' if there is none) and whether it is stale. -#}
{% macro read_lock(relation) %}
    {%- set rows = run_statement("
        select comment, toUnixTimestamp(now()) - toUnixTimestamp(metadata_modification_time)
        from system.tables
        where database = '" ~ relation.schema ~ "' and name = '__lock_" ~ relation.identifier ~ "'
    ").rows -%}
    {%- if not rows -%}
        {{ return({'holder': '', 'stale': false}) }}
    {%- endif -%}
    {%- set holder = rows[0][0] -%}
    {%- if holder.startswith(invocation_id) -%}
        {%- set stale = false -%}
    {%- elif target.type == 'chdb' -%}
        {%- set stale = true -%}
    {%- else -%}
        {%- set silent = rows[0][1] | int > var('lock_expires_seconds') | int -%}
        {%- set stale = silent and not runs_a_query(holder.split(' ')[0]) -%}
    {%- endif -%}
    {{ return({'holder': holder, 'stale': stale}) }}
{% endmacro %}

{#- A comment that names this run, for the start of every statement that it runs under a lock: the
    server cuts off the end of long ones. (`query-comment` does not serve: dbt reads it from the
    root project only.) -#}
{% macro run_comment() %}/* xapi_elt run {{ invocation_id }} */{% endmacro %}

{#- Run a statement that carries the comment. -#}
{% macro run_statement(sql) %}{{ return(run_query(run_comment() ~ ' ' ~ sql)) }}{% endmacro %}

{#- Whether a run has a query running, by the comment in its text. The id is a word of its own in
    this query, so that the query does not find itself or another run's search. -#}
{% macro runs_a_query(run_id) %}
    {%- set cluster = adapter.get_clickhouse_cluster_name() -%}
    {%- set processes = 'clusterAllReplicas(' ~ cluster ~ ', system.processes)' if cluster else 'system.processes' -%}
    {{ return(run_statement(
        "select count() from " ~ processes
        ~ " where position(query, concat('xapi_elt run ', '" ~ run_id ~ "')) > 0"
    ).rows[0][0] | int > 0) }}
{% endmacro %}

{#- Show that the holder is alive; raises an error if the lock was taken over meanwhile. -#}
{% macro beat_lock(relation) %}
    {%- if read_lock(relation).holder != lock_holder() -%}
        {{ exceptions.raise_compiler_error(
            'the lock of ' ~ relation ~ ' was taken over by another run; this one stops before it changes anything'
        ) }}
    {%- endif -%}
    {% do run_statement(
        'alter table ' ~ lock_of(relation) ~ cluster_clause() ~ " modify comment '" ~ lock_holder() ~ "'"
    ) %}
{% endmacro %}

{% macro release_lock(relation) %}
    {% do run_statement('drop table if exists ' ~ lock_of(relation) ~ cluster_clause()) %}
{% endmacro %}

{#- Remove what take-overs left behind, a day later, when no take-over can still be going on. -#}
{% macro drop_expired_locks(relation) %}
    {%- for row in run_statement("
        select name from system.tables
        where database = '" ~ relation.schema ~ "'
            and startsWith(name, '__expired_lock_" ~ relation.identifier ~ "_')
            and metadata_modification_time < now() - interval 1 day
    ").rows -%}
        {% do run_statement('drop table if exists ' ~ relation.schema ~ '.`' ~ row[0] ~ '`' ~ cluster_clause()) %}
    {%- endfor -%}
{% endmacro %}
