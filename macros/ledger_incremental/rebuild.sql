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
    {%- if execute and days and flags.FULL_REFRESH -%}
        {{ exceptions.raise_compiler_error(
            'var ' ~ rebuild_var('start_date') ~ ' and --full-refresh exclude each other: a full refresh fills tables '
            ~ 'from all loads, a rebuild only some days. Leave one of them out. Nothing was done'
        ) }}
    {%- endif -%}
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

{#- Whether a run fills a table from all loads, and not from some days or new loads. -#}
{% macro is_filled_again(existing) %}
    {{ return(existing is none or existing.is_view or should_full_refresh()) }}
{% endmacro %}

{#- What the event models read: the stored lines; in a rebuild of an existing table the raw lines,
    parsed by the current logic. A table that is filled from all loads needs the stored lines, because
    those of expired loads are nowhere else. A unit test gives rows of the stored lines. -#}
{% macro statements() %}
    {%- set stored = ref('int_xapi__statements') -%}
    {%- if execute and model.resource_type != 'unit_test' and rebuild_range()
        and not is_filled_again(load_cached_relation(this)) -%}
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
    each; one without a span held no event, but may by the present logic. Raw lines are ordered by
    load, so no other load is read.
    expired  those whose lines have expired, instead of all others -#}
{% macro loads_of_days(days, expired=false) -%}
    {%- set store = describe_table(model_node(statement_store())) -%}
    select load_id from {{ elt_applied_loads() }}
    where model = '{{ store.name }}' and table_id = '{{ table_state(store).applied_under }}'
        and load_id {{ '' if expired else 'not ' }}in ({{ expired_loads() }})
        and (
            first_event is null
            or (
                first_event < toDateTime64('{{ days.last_day + modules.datetime.timedelta(days=1) }}', 3, 'UTC')
                and last_event >= toDateTime64('{{ days.first_day }}', 3, 'UTC')
            )
        )
{%- endmacro %}

{#- Rebuild what the days yield: the days themselves, or in a table that keeps lines all lines of the
    loads that hold events of them. Returns what was done, in words. -#}
{% macro rebuild(table, days) %}
    {% do note_expired_loads(table) %}
    {% do say_what_stays(table, days) %}
    {%- set loads = loads_of_days(days) -%}
    {%- set in_loads = 'load_id in (' ~ loads ~ ')' -%}
    {%- set scope = in_loads if table.keeps_lines else of_days(days) ~ ' and not ' ~ is_expired() -%}
    {%- set partitions = months_of_loads(loads) if table.keeps_lines else months_of_days(days) -%}
    {%- set new = create_new_table(table) -%}
    {#- Of an event that lines of several sections report, the first line counts, so a rebuild of one
        section looks at all lines of the days. -#}
    {%- set whole_days = dict(days, section_id=none) -%}
    {%- set wanted -%}
        {{ in_loads }} and {{ in_loads if table.keeps_lines else of_days(whole_days) }}
        {%- if not table.keeps_lines %}
        and ({{ table.row_key }}) not in (
            select {{ table.row_key }} from {{ table.relation }}
            where {{ of_days(whole_days) }} and not ({{ scope }})
        )
        {%- endif %}
    {%- endset -%}
    {% do insert_wanted(table, new, table.rows, wanted, scope) %}
    {% do keep_other_rows(table, new, scope, partitions) %}
    {% do check_expired_loads(table) %}
    {#- A run that died while it removed rows (replace.sql) recorded no number of rows: its DELETE may still
        arrive. The loads of that run are still to be applied, and whoever does that counts. -#}
    {% do put_in_place(table, new, count=table.made_by.table_rows > 0) %}
    {%- if table.keeps_lines -%}
        {% do record_rebuilt(table, table.relation, loads) %}
    {%- endif -%}
    {{ return(
        'rebuilt ' ~ ('loads' if table.keeps_lines else 'days') ~ ' of ' ~ partitions | length
        ~ (' month' if partitions | length == 1 else ' months')
    ) }}
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

{#- The months in which some loads were committed. -#}
{% macro months_of_loads(loads) %}
    {{ return(run_statement(
        'select distinct toYYYYMM(committed_at) from ' ~ elt_applied_loads()
        ~ ' where load_id in (' ~ loads ~ ') order by 1'
    ).rows | map(attribute=0) | list) }}
{% endmacro %}
