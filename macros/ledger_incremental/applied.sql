{#- Which loads a table holds. A load is applied once its rows are in the table and the rows that it
    supersedes are out. -#}

{#- The loads that a table holds, as a subquery. -#}
{% macro applied_loads(name, applied_under) -%}
    select load_id from {{ elt_applied_loads() }}
    where model = '{{ name }}' and table_id = '{{ applied_under }}'
{%- endmacro %}

{#- The loads that a table can apply: those of the ledger, or those that another model holds. Rows
    with load_id, committed_at and lines, several for a load. -#}
{% macro source_of_loads(table) %}
    {%- if table.loads_from == 'ledger' -%}
        select load_id, committed_at, rows as lines
        from {{ source('xapi_raw', 'loads') }}
        where outcome = 'committed'
    {%- else -%}
        select load_id, committed_at, lines
        from {{ elt_applied_loads() }}
        where model = '{{ table.loads_from }}' and table_id = '{{ table.upstream.applied_under }}'
            and step != 'rebuild'
    {%- endif -%}
{% endmacro %}

{#- Loads that a table does not hold. Only those committed after its horizon are compared, unless the
    source of its loads has more rows before it than it had: then a load became visible late; or
    unless the bookkeeping of the table has no load from before it: then it was lost. -#}
{% macro new_loads(table, all) %}
    {%- set after_horizon = "committed_at >= toDateTime64('" ~ table.horizon ~ "', 3, 'UTC')" -%}
    select
        available.load_id as load_id,
        min(available.committed_at) as committed_at,
        {{ 'sum' if table.loads_from == 'ledger' else 'any' }}(available.lines) as lines
    from ({{ source_of_loads(table) }}) as available
    where available.load_id not in (
            {{ applied_loads(table.name, table.applied_under) }}
            {%- if not all %} and {{ after_horizon }}{% endif %}
        )
        {%- if not all %}
        and available.{{ after_horizon }}
        {%- endif %}
    group by available.load_id
{% endmacro %}

{#- Whether the bookkeeping of a table lost the loads from before its horizon. The next run finds their
    rows in the table and records them. -#}
{% macro lost_applied_loads(table) -%}
    (
        select {{ table.loads_before_horizon }} > 0 and count() = 0
        from {{ elt_applied_loads() }}
        where model = '{{ table.name }}' and table_id = '{{ table.applied_under }}'
            and toDate(committed_at) < toDate('{{ table.horizon }}')
    )
{%- endmacro %}

{#- What waits for a table, in one query: loads (after its horizon), and whether all have to be
    compared; and how many rows it has. -#}
{% macro waiting_loads(table) %}
    {%- set sql -%}
        select
            (select count() from ({{ new_loads(table, false) }})),
            (
                select count() from ({{ source_of_loads(table) }})
                where toDate(committed_at) < toDate('{{ table.horizon }}')
            ),
            {{ '(select count() from ' ~ table.relation ~ ')' if table.id else '0' }},
            {{ lost_applied_loads(table) }}
    {%- endset -%}
    {%- set row = run_statement(sql).rows[0] -%}
    {{ return({
        'loads': row[0] | int, 'all': row[1] | int != table.loads_before_horizon or row[3] | int > 0,
        'table_rows': row[2] | int,
    }) }}
{% endmacro %}

{#- The next horizon: two days ago, with the rows of the source from before it; and whether all loads
    have to be compared. Counted before the new loads are read: what is counted is held or claimed. By
    day, for which the tables have projections. -#}
{% macro next_horizon(table) %}
    {%- set row = run_statement("
        select
            toString(toDate(now('UTC')) - 2),
            (
                select (
                    sumIf(loads, day < toDate(now('UTC')) - 2), sumIf(loads, day < toDate('" ~ table.horizon ~ "'))
                )
                from (
                    select toDate(committed_at) as day, count() as loads
                    from (" ~ source_of_loads(table) ~ ")
                    group by day
                )
            ) as loads_before,
            loads_before.1, loads_before.2,
            " ~ lost_applied_loads(table) ~ "
    ").rows[0] -%}
    {{ return({
        'horizon': {'horizon': row[0], 'loads_before_horizon': row[2] | int},
        'all': row[3] | int != table.loads_before_horizon or row[4] | int > 0,
    }) }}
{% endmacro %}

{#- Whether a table has to be claimed: new loads wait, or it lost rows, at which open_table stops. -#}
{% macro has_new_loads(table) %}
    {%- set waiting = waiting_loads(table) -%}
    {{ return(waiting.loads > 0 or waiting.all or waiting.table_rows < table.table_rows) }}
{% endmacro %}

{#- Stop if the ledger lacks loads that the table holds: it was restored without the table, or rows of
    it were deleted. Like waiting_loads, it compares single loads only after the horizon. -#}
{% macro check_ledger(table) %}
    {%- set state = namespace(lacking=1) -%}
    {#- A replica of the ledger may be behind for a moment. -#}
    {%- for attempt in range(3) if state.lacking -%}
        {%- if not loop.first -%}{% do run_statement('select sleep(1)') %}{%- endif -%}
        {%- set after_horizon = "committed_at >= toDateTime64('" ~ table.horizon ~ "', 3, 'UTC')" -%}
        {%- set state.lacking = run_statement("
            select
                (
                    select uniqExact(load_id)
                    from (" ~ applied_loads(table.name, table.applied_under) ~ ' and ' ~ after_horizon ~ ")
                    where load_id not in (
                        select load_id from (" ~ source_of_loads(table) ~ ') where ' ~ after_horizon ~ "
                    )
                ) + greatest(
                    0,
                    " ~ table.loads_before_horizon ~ " - (
                        select count() from (" ~ source_of_loads(table) ~ ")
                        where toDate(committed_at) < toDate('" ~ table.horizon ~ "')
                    )
                )
        ").rows[0][0] | int -%}
    {%- endfor -%}
    {%- if state.lacking -%}
        {{ exceptions.raise_compiler_error(
            source('xapi_raw', 'loads') ~ ' lacks ' ~ state.lacking ~ ' loads that ' ~ table.relation ~ ' holds: it was '
            ~ 'restored from an older backup, or rows of it were deleted. Restore both databases from one backup, or '
            ~ 'load what is missing again (xapi-elt reconcile shows it), then dbt run --full-refresh. Nothing was done'
        ) }}
    {%- endif -%}
{% endmacro %}

{#- Fix which loads this run applies: they go into the claim, in slices of var slice_lines lines (a
    larger load is a slice of its own). Loads committed later are left to the next run.
    all  whether to compare also the loads of before the horizon
    Returns the slices: number, loads, lines. -#}
{% macro claim_new_loads(table, all) %}
    {%- set sql -%}
        insert into {{ claim_of(table) }} (slice, load_id, committed_at, lines)
        select
            intDiv(
                sum(lines) over (order by committed_at, load_id rows unbounded preceding) - lines,
                {{ var('slice_lines') | int }}
            ),
            load_id, committed_at, lines
        from ({{ new_loads(table, all) }})
    {%- endset -%}
    {% do run_statement(sql) %}
    {%- set slices = [] -%}
    {%- for row in run_statement(
        'select slice, uniqExact(load_id), sum(lines) from ' ~ claim_of(table) ~ ' group by slice order by slice'
    ).rows -%}
        {% do slices.append({'number': row[0] | int, 'loads': row[1] | int, 'lines': row[2] | int}) %}
    {%- endfor -%}
    {{ return(slices) }}
{% endmacro %}

{#- The claimed loads of some slices, as a subquery. -#}
{% macro claimed_loads(table, slices) -%}
    select load_id from {{ claim_of(table) }} where slice in ({{ slices | map(attribute='number') | join(', ') }})
{%- endmacro %}

{#- Record the loads of slices as applied. The statement reads the claim, so a former holder records
    nothing.
    relation  where their rows are -#}
{% macro record_loads(table, relation, slices) %}
    {%- set loads = claimed_loads(table, slices) -%}
    {% do record_applied(
        table, relation, 'run', loads,
        'select load_id, committed_at, lines from ' ~ claim_of(table)
        ~ ' where load_id in (' ~ loads ~ ')'
    ) %}
{% endmacro %}

{#- Record again the loads of a rebuild: the present logic may give their events other times. -#}
{% macro record_rebuilt(table, relation, loads) %}
    {% do record_applied(
        table, relation, 'rebuild', loads,
        'select load_id, min(held.committed_at) as committed_at, any(held.lines) as lines from ' ~ elt_applied_loads()
        ~ " as held where model = '" ~ table.name ~ "' and table_id = '" ~ table.applied_under ~ "'"
        ~ ' and load_id in (' ~ loads ~ ') and (select count() >= 0 from ' ~ claim_of(table) ~ ') group by load_id'
    ) %}
{% endmacro %}

{#- Insert rows of elt_applied_loads: `rows` selects load_id, committed_at and lines of `loads`. The
    statement store adds the time span of their events, by which a rebuild of days finds them. -#}
{% macro record_applied(table, relation, step, loads, rows) %}
    {%- set has_span = table.name == statement_store() -%}
    {%- set sql -%}
        insert into {{ elt_applied_loads() }}
            (model, table_id, load_id, committed_at, lines, step, run_id, claim, first_event, last_event)
        select
            '{{ table.name }}', '{{ table.applied_under }}', applied.load_id, applied.committed_at, applied.lines,
            '{{ step }}', '{{ invocation_id }}', {{ table.claim }},
            {{ 'spans.first_event, spans.last_event' if has_span else 'null, null' }}
        from ({{ rows }}) as applied
        {%- if has_span %}
        left join (
            select load_id, min(timestamp) as first_event, max(timestamp) as last_event
            from {{ relation }}
            where load_id in ({{ loads }})
            group by load_id
        ) as spans on applied.load_id = spans.load_id
        {%- endif %}
        where {{ parse_is_the_same(table) }}
        settings join_use_nulls = 1
    {%- endset -%}
    {% do run_statement(sql) %}
{% endmacro %}

{#- The model whose table holds every committed line, parsed. -#}
{% macro statement_store() %}{{ return('int_xapi__statements') }}{% endmacro %}
