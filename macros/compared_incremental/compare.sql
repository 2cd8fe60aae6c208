{#- Make the rows of groups that differ again. Returns what was done, in words.
    made  what the comment of the mart says -#}
{% macro compare_mart(mart, events, made) %}
    {% do acquire_claim(mart) %}
    {% do mart.update({'new_loads': loads_since(mart, made)}) %}
    {%- set done = namespace(groups=0) -%}
    {%- set sections = changed_sections(mart) -%}
    {%- if sections -%}
        {%- set version = run_statement('select max(version) + 1 from ' ~ mart.relation).rows[0][0] -%}
        {%- for slice in slices_of(sections) -%}
            {%- set changed = changed_groups(mart, slice) -%}
            {%- set done.groups = done.groups + changed.count -%}
            {% do insert_groups(mart, mart.relation, slice, version, changed.relation) %}
            {%- if not mart.new_loads -%}
                {% do insert_gone_groups(mart, version, changed.relation) %}
            {%- endif -%}
        {%- endfor -%}
    {%- endif -%}
    {%- set id = run_statement(id_of(mart.relation)).rows[0][0] -%}
    {% do beat_claim(mart) %}
    {% do record_mart(mart, mart.relation, id, events, made if mart.new_loads else none) %}
    {% do release_claim(mart) %}
    {{ return(
        done.groups ~ ' groups in ' ~ sections | length ~ ' sections'
        ~ (', of new loads' if mart.new_loads else ', all compared')
    ) }}
{% endmacro %}

{#- The loads that were applied to the event tables since the mart was compared, as a subquery, if their
    rows are all that changed; '' if that is not so, or if everything has not been compared for var
    mart_compare_hours. Rows that were withdrawn, replaced, voided or deleted show in the count:
    there are fewer than there were and the new loads have. A rebuilt table has another id. A run that
    changed a table and applied no load has done something else. -#}
{% macro loads_since(mart, made) %}
    {%- if not mart.states or made.after | length != mart.states | length
        or made.hours >= var('mart_compare_hours') | float -%}
        {{ return('') }}
    {%- endif -%}
    {%- set loads = [] -%}
    {%- for now in mart.states -%}
        {%- set was = made.after[loop.index0].split(' ') -%}
        {%- if was | length != 4 or was[0] != now.name or was[1] != now.id -%}
            {{ return('') }}
        {%- endif -%}
        {%- set since = 'select load_id from ' ~ elt_applied_loads() ~ " where model = '" ~ now.name
            ~ "' and table_id = '" ~ now.applied_under ~ "' and claim > " ~ (was[2] | int) // 1000000 -%}
        {%- set added = run_statement(
            'select count(), (select count() from (' ~ since ~ ')) from ' ~ now.relation
            ~ ' where load_id in (' ~ since ~ ')'
        ).rows[0] -%}
        {%- set is_explained = added[1] | int > 0 or now.version == was[2] | int -%}
        {%- if now.rows != (was[3] | int) + added[0] | int or not is_explained -%}
            {{ return('') }}
        {%- endif -%}
        {% do loads.append(since) %}
    {%- endfor -%}
    {{ return(loads | join(' union distinct ')) }}
{% endmacro %}

{#- Condition on events: a new load brought them. -#}
{% macro of_new_loads(mart) -%} load_id in ({{ mart.new_loads }}) {%- endmacro %}

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

{#- Sections and courses whose events differ from what their rows were made of, and how many events
    they have. -#}
{% macro changed_sections(mart) %}
    {%- if mart.new_loads -%}
        {{ return(run_statement("
            select section_id, " ~ course_hash() ~ " as course_hash, count() as events
            from " ~ mart.source ~ "
            where (section_id, course_id) in (
                select section_id, course_id from " ~ mart.source ~ " where " ~ of_new_loads(mart) ~ "
            )
            group by section_id, course_id
            order by section_id, course_hash
        ").rows) }}
    {%- endif -%}
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
    {%- if mart.new_loads -%}
        {%- set changed -%}
            select distinct {{ mart.group_key }}, 0 as is_gone
            from {{ mart.source }}
            where {{ of_slice(slice) }} and {{ of_new_loads(mart) }}
        {%- endset -%}
    {%- else -%}
        {%- set changed -%}
            select {{ mart.group_key }}, sum(event) = 0 as is_gone
            from ({{ events_against_rows(mart, of_slice(slice)) }})
            group by {{ mart.group_key }}
            having sum(difference) != 0 or groupBitXor(hash) != 0
        {%- endset -%}
    {%- endif -%}
    {% do run_statement('insert into ' ~ relation ~ ' ' ~ changed) %}
    {%- set count = run_statement('select count() from ' ~ relation).rows[0][0] | int -%}
    {{ return({'relation': relation, 'count': count}) }}
{% endmacro %}
