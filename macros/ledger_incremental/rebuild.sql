{#- Rebuild a range of days from the raw lines:
    dbt run --select video_events --vars '{start_date: 2025-09-01, end_date: 2025-09-30}' -#}

{#- The variable that says one of start_date, end_date and section_id. In another project, which has
    this one installed as a package, a plain `start_date` may mean something else: there only
    xapi_start_date, xapi_end_date and xapi_section_id count. -#}
{% macro rebuild_var(name) %}
    {{ return(name if project_name == 'xapi_elt' else 'xapi_' ~ name) }}
{% endmacro %}

{#- The range to rebuild, or none: first_day, last_day (dates) and section_id (or none). Raises an
    error that names the variable when one is wrong. -#}
{% macro rebuild_range() %}
    {%- set first, last = rebuild_var('start_date'), rebuild_var('end_date') -%}
    {%- set given = {} -%}
    {%- for name in [first, last] if var(name, none) is not none -%}
        {%- set text = var(name) | string -%}
        {%- if not modules.re.fullmatch('\\d{4}-\\d{2}-\\d{2}', text) or not is_date(text) -%}
            {{ exceptions.raise_compiler_error(
                "var " ~ name ~ ": '" ~ text ~ "' is no date; give a UTC day as YYYY-MM-DD"
            ) }}
        {%- endif -%}
        {% do given.update({name: modules.datetime.date.fromisoformat(text)}) %}
    {%- endfor -%}
    {%- set section = var(rebuild_var('section_id'), none) -%}
    {%- if section is not none and not modules.re.fullmatch('\\d{1,19}', section | string) -%}
        {{ exceptions.raise_compiler_error(
            'var ' ~ rebuild_var('section_id') ~ ": '" ~ section ~ "' is no whole number"
        ) }}
    {%- endif -%}
    {%- if not given -%}
        {%- if section is not none -%}
            {{ exceptions.raise_compiler_error(
                'var ' ~ rebuild_var('section_id') ~ ' needs ' ~ first ~ ' and ' ~ last ~ ' beside it'
            ) }}
        {%- endif -%}
        {{ return(none) }}
    {%- endif -%}
    {%- for name in [first, last] if name not in given -%}
        {{ exceptions.raise_compiler_error(
            'var ' ~ name ~ ' is missing; a rebuild needs ' ~ first ~ ' and ' ~ last
        ) }}
    {%- endfor -%}
    {%- if given[first] > given[last] -%}
        {{ exceptions.raise_compiler_error(
            'var ' ~ first ~ ' ' ~ given[first] ~ ' is after ' ~ last ~ ' ' ~ given[last]
        ) }}
    {%- endif -%}
    {{ return({'first_day': given[first], 'last_day': given[last], 'section_id': section}) }}
{% endmacro %}

{% macro is_date(text) %}
    {%- set days = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31] -%}
    {%- set year, month, day = text[:4] | int, text[5:7] | int, text[8:] | int -%}
    {%- set leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0) -%}
    {{ return(
        1970 <= year and year < 2200 and 1 <= month and month <= 12 and 1 <= day
        and day <= days[month - 1] and (leap or month != 2 or day < 29)
    ) }}
{% endmacro %}

{#- Stop a run whose variables are wrong before it touches anything. -#}
{% macro check_rebuild_vars() %}
    {%- set days = rebuild_range() -%}
    {%- if execute and days and days.section_id is not none -%}
        {%- set store = load_relation(model_relation(statement_store())) -%}
        {%- if store and not run_statement(
            'select 1 from ' ~ store ~ ' where section_id = ' ~ days.section_id ~ ' limit 1'
        ).rows -%}
            {{ exceptions.raise_compiler_error(
                'var ' ~ rebuild_var('section_id') ~ ': no statement of section ' ~ days.section_id ~ ' was ever loaded'
            ) }}
        {%- endif -%}
    {%- endif -%}
{% endmacro %}

{#- What the event models read: the stored lines; in a rebuild the raw lines, parsed by the current
    logic. A unit test gives rows of the stored lines. -#}
{% macro statements() %}
    {%- set stored = ref('int_xapi__statements') -%}
    {%- if execute and model.resource_type != 'unit_test' and rebuild_range() -%}
        {{ return(model_relation('stg_xapi__statements')) }}
    {%- endif -%}
    {{ return(stored) }}
{% endmacro %}

{#- Condition on rows: the event is of the days (and of the section). -#}
{% macro of_days(days) -%}
    (
        timestamp >= toDateTime64('{{ days.first_day }}', 3, 'UTC')
        and timestamp < toDateTime64('{{ days.last_day + modules.datetime.timedelta(days=1) }}', 3, 'UTC')
        {%- if days.section_id is not none %}
        and section_id = {{ days.section_id }}
        {%- endif %}
    )
{%- endmacro %}

{#- Loads that may hold events of the days, by the time span that the statement store recorded of
    each; one without a span held no event, but may by the logic of today. Raw lines are ordered
    by load, so no other load is read. -#}
{% macro loads_of_days(days) -%}
    {%- set store = model_relation(statement_store()) -%}
    select load_id from {{ load_applications() }}
    where {{ of_table(store, bookkeeping_uuid(store), 'applied') }}
        and (
            first_event is null
            or (
                first_event < toDateTime64('{{ days.last_day + modules.datetime.timedelta(days=1) }}', 3, 'UTC')
                and last_event >= toDateTime64('{{ days.first_day }}', 3, 'UTC')
            )
        )
{%- endmacro %}

{#- Rebuild what the days yield: the days themselves, or with config rebuild_by 'load' all lines
    of the loads that hold events of them. Returns what was done, in words. -#}
{% macro rebuild(table, days) %}
    {%- set by_load = config.get('rebuild_by') == 'load' -%}
    {%- set in_loads = 'load_id in (' ~ loads_of_days(days) ~ ')' -%}
    {%- set scope = in_loads if by_load else of_days(days) -%}
    {%- set partitions = months_of_loads(days) if by_load else months_of_days(days) -%}
    {% do replace_rows(
        table, sql, in_loads ~ ' and ' ~ scope, scope, config.require('row_key'),
        config.require('partition_by'), partitions
    ) %}
    {%- if by_load -%}
        {#- The logic of today may date events otherwise than the spans say. -#}
        {%- set uuid = bookkeeping_uuid(table) -%}
        {% do record_applied(table, table, uuid, of_table(table, uuid, 'applied') ~ ' and ' ~ in_loads) %}
    {%- endif -%}
    {{ return('rebuilt ' ~ partitions | length ~ ' months') }}
{% endmacro %}

{#-
    Replace a part of a table with new rows, all at once: a new table gets them and the rows that
    stay, and is exchanged with the old one. Months that lose no row are attached, which
    copies no data. (REPLACE PARTITION would spare the new table, but killed in the middle it
    leaves the old rows of a month beside the new ones.)

    rows        select that yields the new rows, and maybe others
    wanted      condition on these: which of them are the new rows
    scope       condition on rows of the table: which of them go
    partitions  values of the partition expression that rows of the scope may have
-#}
{% macro replace_rows(table, rows, wanted, scope, row_key, partition, partitions) %}
    {%- set fresh = table.incorporate(path={'identifier': '__rebuild_' ~ table.identifier}) -%}
    {%- set columns = adapter.get_columns_in_relation(table) | map(attribute='quoted') | join(', ') -%}
    {% do run_statement('drop table if exists ' ~ fresh ~ cluster_clause()) %}
    {% do run_statement('create table ' ~ fresh ~ cluster_clause() ~ ' as ' ~ table) %}

    {% call statement('insert_rebuilt') %}
        {{ run_comment() }}
        insert into {{ fresh }} ({{ columns }})
        select {{ columns }}
        from ({{ rows }}) as candidates
        where {{ wanted }}
        {{ first_of_each(row_key) }}
        settings {{ insert_settings() }}
    {% endcall %}

    {% do sync_replicas(table) %}
    {%- set changed = partitions | map('string') | list -%}
    {%- for row in run_statement("
        select distinct partition from system.parts
        where active and database = '" ~ table.schema ~ "' and table = '" ~ table.identifier ~ "'
        order by partition
    ").rows -%}
        {% do beat_lock(table) %}
        {%- if row[0] in changed -%}
            {% do run_statement("
                insert into " ~ fresh ~ " (" ~ columns ~ ")
                select " ~ columns ~ " from " ~ table ~ "
                where " ~ partition ~ " = " ~ row[0] ~ " and not (" ~ scope ~ ")
            ") %}
        {%- else -%}
            {% do run_statement('alter table ' ~ fresh ~ ' attach partition ' ~ row[0] ~ ' from ' ~ table) %}
        {%- endif -%}
    {%- endfor -%}

    {% do continue_bookkeeping(table, fresh) %}
    {% do beat_lock(table) %}
    {% do exchange_and_drop(fresh, table) %}
{% endmacro %}

{#- Replace a table with another one in one step, and drop the old one. (dbt-clickhouse
    drops first and renames then where its probe for EXCHANGE failed, be it by the network.) -#}
{% macro exchange_and_drop(new_table, table) %}
    {%- set new_uuid = table_uuid(new_table) -%}
    {% do sync_replicas(new_table) %}
    {% do run_statement('exchange tables ' ~ new_table ~ ' and ' ~ table ~ cluster_clause()) %}
    {#- A client that gets no answer may send a statement again, which would exchange them back. -#}
    {%- if table_uuid(table) != new_uuid -%}
        {{ exceptions.raise_compiler_error(
            table ~ ' was not exchanged with ' ~ new_table ~ ': the server may have received the '
            ~ 'statement twice. The table is unchanged; run the same command again'
        ) }}
    {%- endif -%}
    {% do run_statement('drop table ' ~ new_table ~ cluster_clause()) %}
{% endmacro %}

{#- On a cluster: wait until each replica of a table has all its parts. -#}
{% macro sync_replicas(table) %}
    {%- if adapter.get_clickhouse_cluster_name() -%}
        {% do run_statement('system sync replica ' ~ cluster_clause() ~ ' ' ~ table) %}
    {%- endif -%}
{% endmacro %}

{#- The months of a range of days, as partition values: 202509, 202510. -#}
{% macro months_of_days(days) %}
    {%- set first = days.first_day.year * 12 + days.first_day.month - 1 -%}
    {%- set last = days.last_day.year * 12 + days.last_day.month - 1 -%}
    {%- set months = [] -%}
    {%- for month in range(first, last + 1) -%}
        {% do months.append((month // 12) * 100 + month % 12 + 1) %}
    {%- endfor -%}
    {{ return(months) }}
{% endmacro %}

{#- The months in which loads that hold events of the days were committed. -#}
{% macro months_of_loads(days) %}
    {{ return(run_statement("
        select distinct toYYYYMM(committed_at) from " ~ load_applications() ~ "
        where load_id in (" ~ loads_of_days(days) ~ ")
        order by 1
    ").rows | map(attribute=0) | list) }}
{% endmacro %}
