{#- Make the rows of groups that differ again. Returns what was done, in words.
    made  what the comment of the mart says -#}
{% macro compare_mart(mart, events, made) %}
    {% do acquire_claim(mart) %}
    {%- set new_loads = loads_since(mart, made) -%}
    {%- set version = run_statement('select max(version) + 1 from ' ~ mart.relation).rows[0][0] -%}
    {%- if new_loads -%}
        {%- set done = make_new_groups(mart, version, new_loads) -%}
    {%- else -%}
        {%- set done = make_differing_groups(mart, version) -%}
    {%- endif -%}
    {%- set id = run_statement(id_of(mart.relation)).rows[0][0] -%}
    {% do beat_claim(mart) %}
    {% do record_mart(mart, mart.relation, id, events, made if new_loads else none) %}
    {% do release_claim(mart) %}
    {{ return(done) }}
{% endmacro %}

{#- Compare all events with the rows, and make the groups that differ again. -#}
{% macro make_differing_groups(mart, version) %}
    {%- set sections, done = changed_sections(mart), namespace(groups=0) -%}
    {%- set slices = slices_of(sections) -%}
    {%- for slice in slices -%}
        {%- set changed = changed_groups(mart, slice) -%}
        {%- set done.groups = done.groups + count_groups(changed) -%}
        {% do insert_groups(mart, mart.relation, slice, version, changed) %}
        {% do insert_gone_groups(mart, version, changed) %}
    {%- endfor -%}
    {{ return(in_words(done.groups, sections, slices) ~ 'all compared') }}
{% endmacro %}

{#- Make the groups of new loads again. -#}
{% macro make_new_groups(mart, version, new_loads) %}
    {%- set changed = new_groups(mart, new_loads) -%}
    {%- set sections = sections_of_groups(mart, changed) -%}
    {%- set slices = slices_of(sections) -%}
    {%- for slice in slices -%}
        {% do insert_groups(mart, mart.relation, slice, version, changed) %}
    {%- endfor -%}
    {{ return(in_words(count_groups(changed), sections, slices) ~ 'of new loads') }}
{% endmacro %}

{#- How many groups a run made, and in how many slices if one was not enough; for dbt's output. -#}
{% macro in_words(groups, sections, slices) -%}
    {{ return(
        groups ~ ' groups in ' ~ sections | length ~ ' sections'
        ~ (' and ' ~ slices | length ~ ' slices' if slices | length > 1 else '') ~ ', '
    ) }}
{%- endmacro %}

{#- The loads that were applied to the event tables since the mart was compared, as a subquery, if their
    rows are all that changed. A table that was rebuilt, or from which dbt removed withdrawn, replaced or
    voided rows, has another id (ledger_incremental/replace.sql). Rows that something else deleted show in
    the count. A run that changed a table and applied no load has done something else.
    '' if more changed, if the mart lost rows, if the new rows are more than var mart_slice_events, or if
    everything has not been compared for var mart_compare_hours. -#}
{% macro loads_since(mart, made) %}
    {%- if not mart.states or made.after | length != mart.states | length or made.rows < made.groups
        or made.hours >= var('mart_compare_hours') | float -%}
        {{ return('') }}
    {%- endif -%}
    {%- set loads, total = [], namespace(added=0) -%}
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
        {%- set total.added = total.added + added[0] | int -%}
        {% do loads.append(since) %}
    {%- endfor -%}
    {{ return(loads | join(' union distinct ') if total.added <= var('mart_slice_events') | int else '') }}
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

{#- Find the groups of a slice that differ. Returns the table that has them. -#}
{% macro changed_groups(mart, slice) %}
    {%- set relation = create_groups(mart) -%}
    {% do run_statement(
        'insert into ' ~ relation ~ ' select ' ~ mart.group_key ~ ', sum(event) = 0 as is_gone, 0 as events from ('
        ~ events_against_rows(mart, of_slice(slice)) ~ ') group by ' ~ mart.group_key
        ~ ' having sum(difference) != 0 or groupBitXor(hash) != 0'
    ) %}
    {{ return(relation) }}
{% endmacro %}

{#- Find the groups of new loads, and how many events these brought. Returns the table that has them. -#}
{% macro new_groups(mart, new_loads) %}
    {%- set relation = create_groups(mart) -%}
    {% do run_statement(
        'insert into ' ~ relation ~ ' select ' ~ mart.group_key ~ ', 0 as is_gone, count() as events from '
        ~ mart.source ~ ' where load_id in (' ~ new_loads ~ ') group by ' ~ mart.group_key
    ) %}
    {{ return(relation) }}
{% endmacro %}

{#- Create the table of groups. It is the table of its own that a run may have, which is dropped when
    another run takes over. -#}
{% macro create_groups(mart) %}
    {% do beat_claim(mart) %}
    {%- set relation = new_table_of(mart) -%}
    {% do run_statement('drop table if exists ' ~ relation ~ cluster_clause()) %}
    {% do run_statement(
        'create table ' ~ relation ~ cluster_clause() ~ ' engine = Memory empty as select '
        ~ mart.group_key ~ ', toUInt8(0) as is_gone, toUInt64(0) as events from ' ~ mart.relation
    ) %}
    {{ return(relation) }}
{% endmacro %}

{% macro count_groups(groups) %}
    {{ return(run_statement('select count() from ' ~ groups).rows[0][0] | int) }}
{% endmacro %}

{#- Sections and courses of new groups, with the events that their rows will be made of: those of the
    present rows and the new ones. `final`: the mart keeps earlier versions of rows until they merge, and
    each run would make smaller slices. -#}
{% macro sections_of_groups(mart, groups) %}
    {{ return(run_statement("
        select section_id, " ~ course_hash() ~ " as course_hash, sum(events) as events
        from (
            select section_id, course_id, events from " ~ groups ~ "
            union all
            select section_id, course_id, events from " ~ mart.relation ~ " final
            where not is_deleted
                and (" ~ mart.group_key ~ ") in (select " ~ mart.group_key ~ " from " ~ groups ~ ")
        )
        group by section_id, course_id
        order by section_id, course_hash
    ").rows) }}
{% endmacro %}
