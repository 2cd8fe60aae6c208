{#- What is known of a mart, in one dictionary that all macros of this folder take:

    name, relation  the model and its table
    group_key       columns of a group
    source          the view of the events
    follows         relations of the event tables below it
    rows            select with the rows of all groups
    definition      hash of what makes the rows: the model, the views, the columns
    description     what the comment of the table begins with
    states          set by events_now: the event tables as they were then (name, id, version, rows), for
                    the comment: the loader sees by it that a mart is behind (loader/lag.py), and the
                    next run which loads are new
    claim, step, beat_at
                    set by acquire_claim -#}
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
        'states': [],
        'claim': 0,
    }) }}
{% endmacro %}

{#- In which state the event tables are: their ids, the runs that last changed them, their rows.
    '' if that is not known; then the mart is compared. -#}
{% macro events_now(mart) %}
    {%- set states = [] -%}
    {%- for table in mart.follows -%}
        {%- set rows = run_statement("
            select
                named.id, max(known.version), (select count() from " ~ table.relation ~ "),
                argMax(known.run_id, known.version),
                toString(argMax(known.applied_under, known.version))
            from (" ~ id_of(table.relation) ~ ") as named
            inner join " ~ elt_tables() ~ " as known
                on known.model = '" ~ table.name ~ "' and toString(known.table_id) = named.id
            group by named.id
        ").rows -%}
        {%- if not rows -%}
            {{ return('') }}
        {%- endif -%}
        {% do states.append({
            'relation': table.relation, 'name': table.name, 'id': rows[0][0], 'version': rows[0][1] | int,
            'rows': rows[0][2] | int, 'run': rows[0][3], 'applied_under': rows[0][4],
        }) %}
    {%- endfor -%}
    {% do mart.update({'states': states}) %}
    {%- set texts = [] -%}
    {%- for one in states -%}
        {% do texts.append([one.id, one.version, one.run, one.rows] | join(' ')) %}
    {%- endfor -%}
    {{ return(local_md5(texts | join(' '))) }}
{% endmacro %}

{#- What a mart was made of, by the comment of its table: definition, state of the events, number of
    groups, the event tables as they were, the hours since all events were last compared; and how many
    rows it has, which are more than its groups until they are merged. -#}
{% macro made_of(mart) %}
    {%- set rows = run_statement("
        select
            extract(comment, '\\\\[definition ([0-9a-f]+)\\\\]'),
            extract(comment, '\\\\[events ([0-9a-f]+)\\\\]'),
            extract(comment, '\\\\[groups ([0-9]+)\\\\]'),
            total_rows,
            extract(comment, '\\\\[after ([^\\\\]]*)\\\\]'),
            toUInt32OrZero(extract(comment, '\\\\[compared ([0-9]+)\\\\]')) as compared,
            (toUnixTimestamp(now()) - compared) / 3600
        from system.tables
        where database = '" ~ mart.relation.schema ~ "' and name = '" ~ mart.relation.identifier ~ "'
    ").rows -%}
    {%- if not rows -%}
        {{ return({'definition': '', 'events': '', 'groups': 0, 'rows': 0, 'after': [], 'compared': 0, 'hours': 0}) }}
    {%- endif -%}
    {{ return({
        'definition': rows[0][0], 'events': rows[0][1], 'groups': rows[0][2] | int, 'rows': (rows[0][3] or 0) | int,
        'after': rows[0][4].split(', '), 'compared': rows[0][5] | int, 'hours': rows[0][6] | float,
    }) }}
{% endmacro %}

{#- Write into the comment of a table what it was made of.
    made  what the comment says, if only the groups of new loads were made again: none of them went, and
          not everything was compared -#}
{% macro record_mart(mart, relation, id, events, made=none) %}
    {%- if made -%}
        {%- set groups, compared = made.groups, made.compared -%}
    {%- else -%}
        {%- set groups, compared = run_statement(
            'select count(), toUnixTimestamp(now()) from ' ~ relation ~ ' final where not is_deleted'
        ).rows[0] -%}
    {%- endif -%}
    {%- set after = [] -%}
    {%- for one in mart.states -%}
        {% do after.append([one.name, one.id, one.version, one.rows] | join(' ')) %}
    {%- endfor -%}
    {%- set text = mart.description ~ ' ' ~ table_comment(id) ~ ' [definition ' ~ mart.definition ~ ']'
        ~ ' [events ' ~ events ~ '] [groups ' ~ groups ~ ']'
        ~ ' [compared ' ~ compared ~ '] [after ' ~ after | join(', ') ~ ']' -%}
    {% do run_statement(one_alter_relation(relation, 'modify comment ' ~ clickhouse_escape_comment(text | trim))) %}
{% endmacro %}
