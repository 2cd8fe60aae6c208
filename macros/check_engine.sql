{#- Before a run changes anything, stop it if its user's settings could change which rows it reads.
    The loader overrides such settings in every statement; dbt cannot, so they are refused here. -#}
{% macro check_engine() %}
    {%- if execute -%}
        {%- set accepted = safe_settings() -%}
        {#- Settings that cut answers cannot be read from system.settings: the query that reads them
            is cut, too. -#}
        {%- set rows = run_query('select number from numbers(1000)').rows | length -%}
        {%- if rows != 1000 -%}
            {{ exceptions.raise_compiler_error(
                'settings of the user hide rows of answers (' ~ rows ~ ' of 1000 rows arrive): limit, '
                ~ 'offset or additional_result_filter; remove it from the settings profile; nothing '
                ~ 'was done'
            ) }}
        {%- endif -%}
        {%- set answer = run_query("
            select version(), arrayStringConcat(arraySort(groupArray(concat(name, '=', value))), '\n')
            from system.settings
            where name in ('" ~ accepted | join("', '") ~ "')
            settings
                query_cache_nondeterministic_function_handling = 'ignore',
                query_cache_system_table_handling = 'ignore'
        ").rows -%}
        {%- set parts = answer[0][0].split('.') -%}
        {%- if (parts[0] | int, parts[1] | int) < (25, 8) -%}
            {{ exceptions.raise_compiler_error(
                'ClickHouse ' ~ answer[0][0] ~ ' is too old; accepted: 25.8 or newer; nothing was done'
            ) }}
        {%- endif -%}
        {%- set free = run_query('select filesystemAvailable()').rows[0][0] | int -%}
        {%- if free < least_room() -%}
            {{ exceptions.raise_compiler_error(
                free // 1048576 ~ ' MiB are free on the disk of ClickHouse, accepted: '
                ~ least_room() // 1048576 ~ ' MiB or more; free some space; nothing was done'
            ) }}
        {%- endif -%}
        {%- set wrong = [] -%}
        {%- for line in answer[0][1].split('\n') -%}
            {%- set name, _, value = line.partition('=') -%}
            {%- if value != accepted[name] -%}
                {% do wrong.append(name ~ " is '" ~ value ~ "', accepted: '" ~ accepted[name] ~ "'") %}
            {%- endif -%}
        {%- endfor -%}
        {%- if wrong -%}
            {{ exceptions.raise_compiler_error(
                'settings of the user could change what dbt reads: ' ~ wrong | join('; ')
                ~ '; remove them from the settings profile, or give dbt another user; nothing was done'
            ) }}
        {%- endif -%}
    {%- endif -%}
{% endmacro %}

{#- Bytes of the disk that inserts leave free and that a run needs at its start. On a full disk
    ClickHouse (seen with 26.9) reports CREATE and ALTER as done, leaves an empty table definition
    behind, and cannot start again with it. -#}
{% macro least_room() %}{{ return(67108864) }}{% endmacro %}
