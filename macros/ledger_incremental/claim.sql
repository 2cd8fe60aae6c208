{#- One run at a time changes a table: the one that holds its claim.

    A claim is a table `elt_claim__<model>__<number>` that also holds the loads which the run is
    about to apply. Its comment names the holder, or says 'free'. The highest number counts, and
    numbers never come again, so there is nothing that two runs could both hold:

        free or stale ──create number + 1──▶ held ──comment 'free'──▶ free

    Creating a table is atomic: of two runs that create the same number, the second one finds the
    comment of the first. A claim is stale when its holder has been silent for
    var lock_expires_seconds and runs no query; on the embedded engine, which one process owns at
    a time, also when its holder is another run. A model that fails leaves its claim behind, and other
    models of the same run take it over.

    The fence: whoever takes over a stale claim drops it first, then waits until none of the former
    holder's statements is running, then drops the former holder's new tables. Each statement that
    changes a table reads the run's own claim or needs its own new table, so what a former holder
    sends late fails. Only a DELETE reads no claim: it names what it removes, which no longer counts. -#}

{% macro claim_prefix(table) %}{{ return('elt_claim__' ~ table.name ~ '__') }}{% endmacro %}

{% macro claim_of(table, number=none) -%}
    {{ table.relation.schema }}.`{{ claim_prefix(table) }}{{ table.claim if number is none else number }}`
{%- endmacro %}

{#- The holder that a claim names: the run, and the model it is working on (threads of one run
    contend, too). Outside of models, e.g. in hooks of another project, the run alone. -#}
{% macro claim_holder() %}{{ return(invocation_id ~ (' ' ~ model.name if model is defined else '')) }}{% endmacro %}

{#- Claim a table: sets table.claim. Waits up to var lock_wait_seconds.
    Raises an error that names the holder if the wait was in vain. -#}
{% macro acquire_claim(table) %}
    {%- set longest = var('lock_wait_seconds') | int -%}
    {%- set state = namespace(waited=0.0, reported=false) -%}
    {% do table.update({'claim': 0}) %}
    {#- Some thirty pauses are shorter than a second. Jinja walks all attempts, so no more than needed. -#}
    {%- for attempt in range(longest + 100) if not table.claim and state.waited <= longest -%}
        {%- set latest = read_claim(table) -%}
        {%- if latest.is_free or latest.is_stale -%}
            {%- if latest.is_stale -%}
                {{ log('taking over ' ~ table.relation ~ ' from run ' ~ latest.holder, info=true) }}
            {%- endif -%}
            {%- set before = present() -%}
            {% do create_claim(table, latest.number + 1) %}
            {%- set made = read_claim(table) -%}
            {%- if made.number == latest.number + 1 and made.holder == claim_holder() -%}
                {% do table.update({'claim': made.number, 'step': 0, 'beat_at': before}) %}
                {% do fence_off_former_holder(table, latest) %}
            {%- endif -%}
        {%- else -%}
            {#- Each look costs processor time of the one that works, so it looks less often the
                longer it waits; a model of this run is done soon. ClickHouse sleeps for at most
                three seconds. -#}
            {%- set is_ours = latest.holder.startswith(invocation_id) -%}
            {%- if not is_ours and not state.reported -%}
                {{ log('waiting for ' ~ table.relation ~ ': run ' ~ latest.holder ~ ' is changing it', info=true) }}
                {%- set state.reported = true -%}
            {%- endif -%}
            {%- set pause = [[0.05, state.waited / 10] | max, 1.0] | min if is_ours else 1.0 -%}
            {% do run_statement('select sleep(' ~ pause ~ ')') %}
            {%- set state.waited = state.waited + pause -%}
        {%- endif -%}
    {%- endfor -%}
    {%- if not table.claim -%}
        {{ exceptions.raise_compiler_error(
            table.relation ~ ' is being changed by run ' ~ read_claim(table).holder
            ~ '; nothing was done here. Wait for it, or raise var lock_wait_seconds (now '
            ~ var('lock_wait_seconds') ~ ')'
        ) }}
    {%- endif -%}
{% endmacro %}

{#- The claim with the highest number: number (0 if there was never one), holder, is_free, is_stale. -#}
{% macro read_claim(table) %}
    {%- set rows = run_statement("
        select number, comment, silent
        from (
            select
                toUInt64OrZero(extract(name, '[0-9]+$')) as number,
                comment,
                toUnixTimestamp(now()) - toUnixTimestamp(metadata_modification_time) as silent
            from system.tables
            where database = '" ~ table.relation.schema ~ "'
                and match(name, '^" ~ claim_prefix(table) ~ "[0-9]+$')
        )
        order by number desc
        limit 1
    ").rows -%}
    {%- if not rows -%}
        {#- Numbers go on where a restored or cleared database left off. -#}
        {%- set recorded = run_statement(
            'select max(claim) from ' ~ elt_tables() ~ " where model = '" ~ table.name ~ "'"
        ).rows[0][0] | int -%}
        {{ return({'number': recorded, 'holder': '', 'is_free': true, 'is_stale': false}) }}
    {%- endif -%}
    {%- set number, holder, silent = rows[0][0] | int, rows[0][1], rows[0][2] | int -%}
    {%- set is_free = holder == 'free' -%}
    {%- if is_free -%}
        {%- set is_stale = false -%}
    {%- elif target.type == 'chdb' and not holder.startswith(invocation_id) -%}
        {%- set is_stale = true -%}
    {%- else -%}
        {%- set is_stale = silent > var('lock_expires_seconds') | int
            and not runs_a_query(holder) -%}
    {%- endif -%}
    {{ return({'number': number, 'holder': holder, 'is_free': is_free, 'is_stale': is_stale}) }}
{% endmacro %}

{% macro create_claim(table, number) %}
    {% do run_statement("
        create table if not exists " ~ claim_of(table, number) ~ cluster_clause() ~ "
        (
            slice UInt32 comment 'Insert that takes the load, from 0',
            load_id UUID comment 'The load',
            committed_at DateTime64(3, 'UTC') comment 'When the load was committed',
            lines UInt64 comment 'Lines of the load'
        )
        engine = Memory
        comment '" ~ claim_holder() ~ "'
    ") %}
{% endmacro %}

{#- Make sure that nothing a former holder sends from now on has an effect, and remove what it left
    behind. `latest` is the claim before this one. -#}
{% macro fence_off_former_holder(table, latest) %}
    {%- set left = elt_names(table) -%}
    {%- for name in left if name.startswith(claim_prefix(table)) and name != claim_prefix(table) ~ table.claim -%}
        {% do run_statement('drop table if exists ' ~ table.relation.schema ~ '.`' ~ name ~ '`' ~ cluster_clause()) %}
    {%- endfor -%}
    {%- if latest.is_stale -%}
        {% do wait_for_queries(latest.holder) %}
        {%- set left = elt_names(table) -%}
    {%- endif -%}
    {%- for name in left if name.startswith(new_table_prefix(table)) -%}
        {% do run_statement('drop table if exists ' ~ table.relation.schema ~ '.`' ~ name ~ '`' ~ cluster_clause()) %}
    {%- endfor -%}
{% endmacro %}

{#- Names of the claims of a table and of the new tables beside it. -#}
{% macro elt_names(table) %}
    {{ return(run_statement("
        select name from system.tables
        where database = '" ~ table.relation.schema ~ "'
            and match(name, '^(" ~ claim_prefix(table) ~ '|' ~ new_table_prefix(table) ~ ")[0-9]+$')
    ").rows | map(attribute=0) | list) }}
{% endmacro %}

{#- Wait until no statement of a former holder is running. -#}
{% macro wait_for_queries(holder) %}
    {%- set state = namespace(waiting=true) -%}
    {%- for attempt in range(var('lock_wait_seconds') | int + 1) if state.waiting -%}
        {%- set state.waiting = runs_a_query(holder) -%}
        {%- if state.waiting -%}{% do run_statement('select sleep(1)') %}{%- endif -%}
    {%- endfor -%}
    {%- if state.waiting -%}
        {{ exceptions.raise_compiler_error(
            'statements of run ' ~ holder ~ ' are still running; nothing was done here. Run the same command again'
        ) }}
    {%- endif -%}
{% endmacro %}

{#- A comment that names this run and its model, at the start of every statement that it sends: the
    server cuts off the end of long ones. (`query-comment` does not serve: dbt reads it from the root
    project only.) -#}
{% macro run_comment() %}/* xapi_elt run {{ claim_holder() }} */{% endmacro %}

{#- Run a statement that carries the comment. -#}
{% macro run_statement(sql) %}{{ return(run_query(run_comment() ~ ' ' ~ sql)) }}{% endmacro %}

{#- Whether a holder has a query running, by the comment in its text. The holder is a word of its own in
    this query, so that it does not find itself or another run's search. Of another run any query counts:
    an erasure does not name its model. -#}
{% macro runs_a_query(holder) %}
    {%- set run_id = holder.split(' ')[0] -%}
    {%- set searched = holder ~ ' ' if run_id == invocation_id else run_id -%}
    {%- set cluster = adapter.get_clickhouse_cluster_name() -%}
    {%- set processes = 'clusterAllReplicas(' ~ cluster ~ ', system.processes)' if cluster else 'system.processes' -%}
    {{ return(run_statement(
        'select count() from ' ~ processes
        ~ " where position(query, concat('xapi_elt run ', '" ~ searched ~ "')) > 0"
    ).rows[0][0] | int > 0) }}
{% endmacro %}

{#- Show that the holder is alive, unless it has just done so. Raises an error if another run took the
    table over. -#}
{% macro beat_claim(table) %}
    {#- The clock may have been set back. -#}
    {%- if not 0 <= present() - table.beat_at <= (var('lock_expires_seconds') | int) / 30 -%}
        {%- if read_claim(table).number != table.claim -%}
            {{ exceptions.raise_compiler_error(
                table.relation ~ ' was taken over by another run; this one stops before it changes anything'
            ) }}
        {%- endif -%}
        {% do table.update({'beat_at': present()}) %}
        {% do run_statement(
            'alter table ' ~ claim_of(table) ~ cluster_clause() ~ " modify comment '" ~ claim_holder() ~ "'"
        ) %}
    {%- endif -%}
{% endmacro %}

{#- Seconds since 1970, by the clock of this process. -#}
{% macro present() %}{{ return(modules.datetime.datetime.now().timestamp()) }}{% endmacro %}

{% macro release_claim(table) %}
    {% do run_statement('alter table ' ~ claim_of(table) ~ cluster_clause() ~ " modify comment 'free'") %}
{% endmacro %}
