{#- A kept_view whose SQL has many steps is made of several views, because older ClickHouse takes ten
    times as long to plan them as one query (decision 0034). The model stays one select. -#}

{#- Marks, between two CTEs of a model, that a view of its own ends with the first. What comes after it
    may read no other CTE from before it.
    cte  the CTE that ends here -#}
{% macro part_ends(cte) -%}/* part ends: {{ cte }} */{%- endmacro %}

{#- The views that a view is made of, the view itself last: name, sql. The names have a hash, so that a
    new version does not change what the present one reads.
    comment  the comment of the view, which has hashes of all that makes it -#}
{% macro parts_of_view(view, sql, comment) %}
    {%- set pieces = modules.re.split('/\\* part ends: (\\w+) \\*/', sql) -%}
    {%- set prefix = part_prefix(view) ~ local_md5(comment)[:12] ~ '__' -%}
    {%- set parts, before = [], namespace(ctes='') -%}
    {%- for piece in pieces[::2] -%}
        {%- set piece = piece.strip() -%}
        {#- Older ClickHouse (26.1) refuses a comma between the last CTE and its select. -#}
        {%- set comma = ', ' if before.ctes and not piece.lower().startswith('select') else ' ' -%}
        {%- set sql = (before.ctes ~ comma ~ piece).removesuffix(',') -%}
        {%- if loop.last -%}
            {% do parts.append({'name': view.identifier, 'sql': sql}) %}
        {%- else -%}
            {%- set cte = pieces[2 * loop.index0 + 1] -%}
            {%- set part = prefix ~ cte -%}
            {% do parts.append({'name': part, 'sql': sql ~ ' select * from ' ~ cte}) %}
            {%- set before.ctes = 'with ' ~ cte ~ ' as (select * from ' ~ view.incorporate(path={'identifier': part}) ~ ')' -%}
        {%- endif -%}
    {%- endfor -%}
    {{ return(parts) }}
{% endmacro %}

{#- Beginning of the names of the parts of a view. -#}
{% macro part_prefix(view) -%}elt_part__{{ view.identifier }}__{%- endmacro %}

{#- Create the parts of a view, except the view itself. -#}
{% macro create_parts(view, parts) %}
    {%- for part in parts[:-1] -%}
        {%- set relation = view.incorporate(path={'identifier': part.name}) -%}
        {% do run_statement('create or replace view ' ~ relation ~ cluster_clause() ~ ' as ' ~ part.sql) %}
    {%- endfor -%}
{% endmacro %}

{#- Drop the parts of other versions of a view.
    found  names of all parts that there are -#}
{% macro drop_other_parts(view, parts, found) %}
    {%- for name in found if name not in parts | map(attribute='name') -%}
        {% do run_statement(
            'drop view if exists ' ~ view.incorporate(path={'identifier': name}) ~ cluster_clause()
        ) %}
    {%- endfor -%}
{% endmacro %}
