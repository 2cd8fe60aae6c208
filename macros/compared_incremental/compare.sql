{#- Make the rows of groups that differ again. Returns what was done, in words. -#}
{% macro compare_mart(mart, events) %}
    {% do acquire_claim(mart) %}
    {%- set done = namespace(groups=0) -%}
    {%- set sections = changed_sections(mart) -%}
    {%- if sections -%}
        {%- set version = run_statement('select max(version) + 1 from ' ~ mart.relation).rows[0][0] -%}
        {%- for slice in slices_of(sections) -%}
            {%- set changed = changed_groups(mart, slice) -%}
            {%- set done.groups = done.groups + changed.count -%}
            {% do insert_groups(mart, mart.relation, slice, version, changed.relation) %}
            {% do insert_gone_groups(mart, version, changed.relation) %}
        {%- endfor -%}
    {%- endif -%}
    {%- set id = run_statement(id_of(mart.relation)).rows[0][0] -%}
    {% do beat_claim(mart) %}
    {% do record_mart(mart, mart.relation, id, events) %}
    {% do release_claim(mart) %}
    {{ return(done.groups ~ ' groups in ' ~ sections | length ~ ' sections') }}
{% endmacro %}

{#- Events and stored rows, as rows that cancel each other out if the stored rows were made of these
    events: their sums and xors are 0. -#}
{% macro events_against_rows(mart, condition='1') %}
    select {{ mart.group_key }}, toInt64(1) as difference, event_hash as hash, 1 as event
    from {{ mart.source }}
    where {{ condition }}
    union all
    select {{ mart.group_key }}, -toInt64(events) as difference, events_hash as hash, 0 as event
    from {{ mart.relation }} final
    where not is_deleted and {{ condition }}
{% endmacro %}

{#- Sections and courses whose events differ from what their rows were made of. -#}
{% macro changed_sections(mart) %}
    {{ return(run_statement("
        select section_id, " ~ course_hash() ~ " as course_hash, sum(event) as events
        from (" ~ events_against_rows(mart) ~ ")
        group by section_id, course_id
        having sum(difference) != 0 or groupBitXor(hash) != 0
        order by section_id, course_hash
    ").rows) }}
{% endmacro %}

{#- Courses are named by a hash in statements: a number needs no quotes. -#}
{% macro course_hash() -%}cityHash64(toString(course_id)){%- endmacro %}

{#- Find the groups of a slice that differ. They are in the table of its own that a run may have,
    which is dropped when another run takes over. Returns the table and the number of groups. -#}
{% macro changed_groups(mart, slice) %}
    {% do beat_claim(mart) %}
    {%- set relation = new_table_of(mart) -%}
    {% do run_statement('drop table if exists ' ~ relation ~ cluster_clause()) %}
    {% do run_statement(
        'create table ' ~ relation ~ cluster_clause() ~ ' engine = Memory empty as select '
        ~ mart.group_key ~ ', toUInt8(0) as is_gone from ' ~ mart.relation
    ) %}
    {% do run_statement(
        'insert into ' ~ relation ~ ' select ' ~ mart.group_key ~ ', sum(event) = 0 as is_gone from ('
        ~ events_against_rows(mart, of_slice(slice)) ~ ') group by ' ~ mart.group_key
        ~ ' having sum(difference) != 0 or groupBitXor(hash) != 0'
    ) %}
    {%- set count = run_statement('select count() from ' ~ relation).rows[0][0] | int -%}
    {{ return({'relation': relation, 'count': count}) }}
{% endmacro %}
