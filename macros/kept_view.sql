{#- A view that is replaced only when it changes. Its comment has a hash of its SQL, the name of the
    database, because RENAME DATABASE leaves the old name in the text of a view, and a hash of the
    columns of what it reads, because ClickHouse keeps the columns of a view as they were when it was
    made.
    ClickHouse plans a view whenever it makes one, so most of a run without new loads would be spent
    on views that stay the same. -#}
{% materialization kept_view, adapter='clickhouse' %}

    {%- set existing = load_cached_relation(this) -%}
    {%- set view = this.incorporate(type='view') -%}

    {{ run_hooks(pre_hooks, inside_transaction=False) }}
    {{ run_hooks(pre_hooks, inside_transaction=True) }}

    {%- set found = view_and_its_sources(view) -%}
    {%- set comment = view_comment(sql, found.columns) -%}
    {%- set parts = parts_of_view(view, sql, comment) -%}
    {%- set lacking = parts[:-1] | map(attribute='name') | reject('in', found.parts) | list -%}
    {%- if existing is not none and existing.is_view and found.comment == comment and not lacking
        and not should_full_refresh() -%}
        {% call noop_statement('main', 'unchanged') %}{% endcall %}
    {%- else -%}
        {% do create_parts(view, parts) %}
        {#- With its definition: a run that reads it at this moment must find that. -#}
        {% call statement('main') -%}
            {{ get_create_view_as_sql(view, parts[-1].sql) }}
            comment '{{ comment_of_definition(sql) }}'
        {%- endcall %}
        {%- if config.persist_column_docs() and model.columns -%}
            {% do clickhouse__persist_docs(view, model, false, true) %}
        {%- endif -%}
        {#- Last: a run that dies before it leaves a view that the next one replaces. -#}
        {% do run_statement(one_alter_relation(view, 'modify comment ' ~ clickhouse_escape_comment(comment))) %}
        {% do drop_other_parts(view, parts, found.parts) %}
    {%- endif -%}

    {% do apply_grants(view, config.get('grants'), should_revoke=should_revoke(existing, True)) %}

    {{ run_hooks(post_hooks, inside_transaction=True) }}
    {% do adapter.commit() %}
    {{ run_hooks(post_hooks, inside_transaction=False) }}

    {{ return({'relations': [view]}) }}

{% endmaterialization %}

{#- The comment of a view as it is in the database ('' if there is none), a hash of the columns of the
    tables and views that it reads, and the names of its parts (view_parts.sql). -#}
{% macro view_and_its_sources(view) %}
    {%- set names = [] -%}
    {%- for id in model.depends_on.nodes -%}
        {%- set node = graph.nodes.get(id) or graph.sources.get(id) -%}
        {% do names.append("('" ~ node.schema ~ "', '" ~ (node.alias or node.identifier) ~ "')") %}
    {%- endfor -%}
    {%- set row = run_statement("
        select
            (
                select any(comment) from system.tables
                where database = '" ~ view.schema ~ "' and name = '" ~ view.identifier ~ "'
            ),
            (
                select hex(sipHash128(groupArray((table, name, type))))
                from (
                    select table, name, type from system.columns
                    where (database, table) in (" ~ (names | join(', ') or "('', '')") ~ ")
                    order by table, position
                )
            ),
            (
                select arrayStringConcat(groupArray(name), ' ') from system.tables
                where database = '" ~ view.schema ~ "' and startsWith(name, '" ~ part_prefix(view) ~ "')
            )
    ").rows[0] -%}
    {{ return({'comment': row[0], 'columns': row[1], 'parts': row[2].split()}) }}
{% endmacro %}

{#- The comment that a view gets: its description, if dbt is to store that, and what it was made of. -#}
{% macro view_comment(sql, columns) %}
    {%- set documented = [] -%}
    {%- for column in model.columns.values() -%}
        {% do documented.append([column.name, column.data_type, column.description if config.persist_column_docs() else '']) %}
    {%- endfor -%}
    {%- set description = model.description ~ ' ' if config.persist_relation_docs() else '' -%}
    {{ return(
        description ~ comment_of_definition(sql) ~ ' [columns ' ~ local_md5(columns ~ documented) ~ ']'
    ) }}
{% endmacro %}

{% macro comment_of_definition(sql) %}
    {{ return('[definition ' ~ hash_of_code(sql) ~ '] ' ~ made_in_this_database()) }}
{% endmacro %}

{#- A hash of SQL; comments, white space and the name of the database do not count. Text literals
    count as they are: one may contain what looks like a comment. -#}
{% macro hash_of_code(code) %}
    {%- set literal = "'(?:[^'\\\\]|\\\\[\\s\\S]|'')*'" -%}
    {%- set ignored = '(?:--[^\n]*|/\\*[\\s\\S]*?\\*/|\\s)' -%}
    {%- set code = modules.re.sub('(' ~ literal ~ ')' ~ ignored ~ '*|' ~ ignored ~ '+', '\\1 ', code) -%}
    {%- set code = code | replace('`' ~ target.schema ~ '`.', '') | replace('`' ~ target.schema ~ '_raw`.', 'raw.') -%}
    {{ return(local_md5(code | trim)) }}
{% endmacro %}

{#- What the comment of a view says of the database for which it was made. -#}
{% macro made_in_this_database() -%}[database {{ target.schema }}]{%- endmacro %}

{#- Scalar subquery: the hash of the SQL of a view as it is in the database. '' if there is no such view,
    or if it was made before the database got its name, so that it reads another one. -#}
{% macro hash_of_view(view) -%}
    (
        select any(if(
            position(comment, '{{ made_in_this_database() }}') > 0,
            extract(comment, '\\[definition ([0-9a-f]+)\\]'),
            ''
        ))
        from system.tables
        where database = '{{ view.schema }}' and name = '{{ view.identifier }}'
    )
{%- endmacro %}

{#- The same as text; stops if it is ''. -#}
{% macro definition_of_view(view) %}
    {%- set definition = run_statement('select ' ~ hash_of_view(view)).rows[0][0] -%}
    {%- if not definition -%}
        {{ exceptions.raise_compiler_error(
            view ~ ' is missing, of an earlier version of the project, or of a database of another name; build it: '
            ~ 'dbt run --select +' ~ view.identifier
        ) }}
    {%- endif -%}
    {{ return(definition) }}
{% endmacro %}
