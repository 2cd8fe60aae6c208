{#- What is known of a mart, in one dictionary that all macros of this folder take:

    name, relation  the model and its table
    group_key       columns of a group
    source          the view of the events
    follows         relations of the event tables below it
    rows            select with the rows of all groups
    definition      hash of what makes the rows: the model, the views, the columns
    description     what the comment of the table begins with
    after           set by events_now: the event tables as they were then, for the comment, by which
                    the loader sees that a mart is behind (loader/lag.py)
    claim, step     set by acquire_claim -#}
{% macro describe_mart(node, rows) %}
    {%- set code = [hash_of_code(rows)] -%}
    {%- for name in node.config.made_from -%}
        {% do code.append(definition_of_view(model_relation(name))) %}
    {%- endfor -%}
    {%- set follows = [] -%}
    {%- for name in node.config.follows -%}
        {% do follows.append({'name': name, 'relation': model_relation(name)}) %}
    {%- endfor -%}
    {%- set types = [] -%}
    {%- for column in node.columns.values() -%}
        {% do types.append([column.name, column.data_type, column.codec]) %}
    {%- endfor -%}
    {{ return({
        'name': node.name,
        'relation': table_relation(node),
        'group_key': node.config.group_key | join(', '),
        'source': model_relation(node.config.made_from | first),
        'follows': follows,
        'rows': rows,
        'definition': local_md5(code ~ types ~ node.config.engine ~ node.config.order_by),
        'description': node.description if config.persist_relation_docs() else '',
        'after': [],
        'claim': 0,
    }) }}
{% endmacro %}

{#- In which state the event tables are: their ids, the runs that last changed them, their rows.
    '' if that is not known; then the mart is compared. -#}
{% macro events_now(mart) %}
    {%- set states, after = [], [] -%}
    {%- for table in mart.follows -%}
        {%- set rows = run_statement("
            select
                named.id, max(known.version), argMax(known.run_id, known.version),
                (select count() from " ~ table.relation ~ ")
            from (" ~ id_of(table.relation) ~ ") as named
            inner join " ~ elt_tables() ~ " as known
                on known.model = '" ~ table.name ~ "' and toString(known.table_id) = named.id
            group by named.id
        ").rows -%}
        {%- if not rows -%}
            {{ return('') }}
        {%- endif -%}
        {% do states.append(rows[0] | join(' ')) %}
        {% do after.append(table.name ~ ' ' ~ rows[0][0] ~ ' ' ~ rows[0][1]) %}
    {%- endfor -%}
    {% do mart.update({'after': after}) %}
    {{ return(local_md5(states | join(' '))) }}
{% endmacro %}

{#- What a mart was made of, by the comment of its table: definition, state of the events, number of
    groups; and how many rows it has, which are more than its groups until they are merged. -#}
{% macro made_of(mart) %}
    {%- set rows = run_statement("
        select
            extract(comment, '\\\\[definition ([0-9a-f]+)\\\\]'),
            extract(comment, '\\\\[events ([0-9a-f]+)\\\\]'),
            extract(comment, '\\\\[groups ([0-9]+)\\\\]'),
            total_rows
        from system.tables
        where database = '" ~ mart.relation.schema ~ "' and name = '" ~ mart.relation.identifier ~ "'
    ").rows -%}
    {%- if not rows -%}
        {{ return({'definition': '', 'events': '', 'groups': 0, 'rows': 0}) }}
    {%- endif -%}
    {{ return({
        'definition': rows[0][0], 'events': rows[0][1], 'groups': rows[0][2] | int, 'rows': (rows[0][3] or 0) | int,
    }) }}
{% endmacro %}

{#- Write into the comment of a table what it was made of. -#}
{% macro record_mart(mart, relation, id, events) %}
    {%- set groups = run_statement(
        'select count() from ' ~ relation ~ ' final where not is_deleted'
    ).rows[0][0] -%}
    {%- set text = mart.description ~ ' ' ~ table_comment(id) ~ ' [definition ' ~ mart.definition ~ ']'
        ~ ' [events ' ~ events ~ '] [groups ' ~ groups ~ '] [after ' ~ mart.after | join(', ') ~ ']' -%}
    {% do run_statement(one_alter_relation(relation, 'modify comment ' ~ clickhouse_escape_comment(text | trim))) %}
{% endmacro %}
