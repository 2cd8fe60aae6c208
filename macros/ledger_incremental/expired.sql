{#- Expired loads: `xapi-elt expire` removed their raw lines, or is about to. They are never read from
    raw, so a table keeps or carries over the rows that came from them. -#}

{#- Loads whose raw lines were removed on purpose, as a subquery. -#}
{% macro expired_loads() -%}
    select load_id from {{ source('xapi_raw', 'expired_loads') }}
{%- endmacro %}

{#- Note how many loads have expired, before raw lines are read to replace rows of a table. -#}
{% macro note_expired_loads(table) %}
    {% do table.update({'expired': count_expired_loads()}) %}
{% endmacro %}

{#- Stop if loads expired since then: some statements of the run may have read their lines, and others
    kept their rows. `xapi-elt expire` records a load before it removes its lines. -#}
{% macro check_expired_loads(table) %}
    {%- set since = count_expired_loads() - table.expired -%}
    {%- if since -%}
        {{ exceptions.raise_compiler_error(
            since ~ ' loads expired while this run read raw lines for ' ~ table.relation ~ '. The table is unchanged; '
            ~ 'run the same command again'
        ) }}
    {%- endif -%}
{% endmacro %}

{% macro count_expired_loads() %}
    {{ return(run_statement('select count() from ' ~ source('xapi_raw', 'expired_loads')).rows[0][0] | int) }}
{% endmacro %}

{#- Fill a new statement store with the rows of expired loads: from the old one, if there is one. Sets
    table.carries_over, after which insert_slices does not read these loads. -#}
{% macro carry_over_expired_rows(table, new, existing) %}
    {%- set is_table = existing is not none and not existing.is_view -%}
    {% do note_expired_loads(table) %}
    {%- if table.expired -%}{% do check_expired_lines(table, is_table) %}{%- endif -%}
    {%- if is_table -%}
        {% do table.update({'carries_over': true}) %}
        {% do copy_expired_rows(table, new) %}
    {%- endif -%}
{% endmacro %}

{#- Stop if the store that is filled again lacks lines of expired loads: nothing else has them, and the
    event tables that still have their events would lose them with the next full refresh. -#}
{% macro check_expired_lines(table, is_table) %}
    {%- set objects -%}
        select load_id, {{ source_path() }} as source_path, rows from {{ source('xapi_raw', 'committed_objects') }}
        where status = 'visible' and {{ is_expired() }}
    {%- endset -%}
    {%- set held -%}
        select count() from {{ table.relation }}
        where source_item <= 1 and (load_id, source_path) in (select load_id, source_path from ({{ objects }}))
    {%- endset -%}
    {%- set lost = run_statement(
        'select (select sum(rows) from (' ~ objects ~ ')) - ' ~ ('(' ~ held ~ ')' if is_table else '0')
    ).rows[0][0] | int -%}
    {%- if lost > 0 -%}
        {%- set text = table.relation ~ ' lacks ' ~ lost ~ ' lines whose raw lines have expired; no full refresh brings '
            ~ 'them back, and tables that are filled from it lose their events' -%}
        {%- if var('without_expired_lines') -%}
            {% do exceptions.warn(text) %}
        {%- else -%}
            {{ exceptions.raise_compiler_error(
                text ~ '. Restore both databases from a backup. To go on without these lines: '
                ~ "--vars '{without_expired_lines: true}'. No table was changed"
            ) }}
        {%- endif -%}
    {%- endif -%}
{% endmacro %}

{#- What brings back the rows that a table has lost. -#}
{% macro remedy_of_lost_rows(table) %}
    {%- if table.loads_from == 'ledger' and count_expired_loads() -%}
        {{ return(
            'Restore both databases from a backup, or try dbt run --full-refresh --select ' ~ table.name
            ~ ', which stops if raw lines of these rows have expired'
        ) }}
    {%- endif -%}
    {{ return('Restore both, or fill it again: dbt run --full-refresh --select ' ~ table.name) }}
{% endmacro %}

{#- Warn of new loads that have expired: the store was restored from a backup of before it held them.
    The balance shows their lines as missing from then on. -#}
{% macro warn_of_expired_loads(table, slices) %}
    {%- if slices and table.loads_from == 'ledger' -%}
        {%- set gone = run_statement(
            'select uniqExact(load_id) from ' ~ claim_of(table) ~ ' where ' ~ is_expired()
        ).rows[0][0] | int -%}
        {%- if gone -%}
            {% do exceptions.warn(
                'the raw lines of ' ~ gone ~ ' loads have expired, and ' ~ table.relation ~ ' does not have what they '
                ~ 'held. Restore both databases from one backup to keep those events'
            ) %}
        {%- endif -%}
    {%- endif -%}
{% endmacro %}

{#- Copy the rows of expired loads that readers see. `learner_id` is made of the stored identity with the
    present key; what else the present parse makes of a line cannot be known. -#}
{% macro copy_expired_rows(table, new) %}
    {%- set kept = count_expired_rows(table) -%}
    {%- if kept -%}
        {%- set invisible -%}
            select load_id, {{ source_path() }} from {{ source('xapi_raw', 'committed_objects') }}
            where status != 'visible' and {{ is_expired() }}
        {%- endset -%}
        {%- set held = adapter.get_columns_in_relation(table.relation) | map(attribute='name') | list -%}
        {%- set wanted = adapter.get_columns_in_relation(new.relation) | map(attribute='name') | list -%}
        {%- set columns = wanted | select('in', held) | list -%}
        {% do say_what_expired_rows_lack(table, kept, wanted | reject('in', held) | join(', ')) %}
        {%- set values = [] -%}
        {%- for column in columns -%}
            {% do values.append(
                "if(learner_kind = '', null, " ~ learner_id('learner') ~ ') as learner_id'
                if column == 'learner_id' and 'learner_kind' in held else '`' ~ column ~ '`'
            ) %}
        {%- endfor -%}
        {%- set learner -%}
            (toString(learner_kind), if(learner_kind = 'account', coalesce(home_page, ''), ''), coalesce(user_id, ''))
        {%- endset -%}
        {% do run_statement(
            'insert into ' ~ new.relation ~ ' (`' ~ columns | join('`, `') ~ '`) select ' ~ values | join(', ')
            ~ ' from (select *' ~ (', ' ~ learner ~ ' as learner' if 'learner_kind' in held) ~ ' from ' ~ table.relation
            ~ ' where ' ~ is_expired() ~ ' and (load_id, source_path) not in (' ~ invisible ~ '))'
            ~ ' settings throw_on_max_partitions_per_insert_block = 0'
        ) %}
    {%- endif -%}
{% endmacro %}

{% macro say_what_expired_rows_lack(table, kept, new_columns) %}
    {%- set text = table.relation ~ ' keeps ' ~ kept ~ ' rows whose raw lines have expired' -%}
    {%- if new_columns -%}
        {%- set text = text ~ '; they have no value in new columns: ' ~ new_columns -%}
    {%- endif -%}
    {%- if table.made_by.id and table.made_by.identity_rule != identity_rule() -%}
        {% do exceptions.warn(
            text ~ '. Their event ids are of rule ' ~ table.made_by.identity_rule ~ ', those of other rows of rule '
            ~ identity_rule() ~ ': a line that is sent again may count as another event'
        ) %}
    {%- else -%}
        {{ log(text, info=true) }}
    {%- endif -%}
{% endmacro %}

{#- Say that a rebuild of days leaves rows as they are. Lines are found by the time span of their load. -#}
{% macro say_what_stays(table, days) %}
    {%- set kept = count_expired_rows(
        table, 'load_id in (' ~ loads_of_days(days, expired=true) ~ ')' if table.keeps_lines else of_days(days)
    ) -%}
    {%- if kept -%}
        {{ log(
            table.relation ~ ': ' ~ kept ~ ' rows of these days stay as they are, because their raw lines have expired',
            info=true
        ) }}
    {%- endif -%}
{% endmacro %}

{% macro count_expired_rows(table, condition='true') %}
    {{ return(run_statement(
        'select count() from ' ~ table.relation ~ ' where ' ~ is_expired() ~ ' and ' ~ condition
    ).rows[0][0] | int) }}
{% endmacro %}

{#- Condition on rows: they came from an expired load. -#}
{% macro is_expired() -%}load_id in ({{ expired_loads() }}){%- endmacro %}
