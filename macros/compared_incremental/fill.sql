{#- Fill a new table, then put it in the place of the old one. Returns what was done, in words. -#}
{% macro fill_mart(mart, existing, events) %}
    {% do acquire_claim(mart) %}
    {%- set new = {'relation': new_table_of(mart), 'id': new_id()} -%}
    {% do clickhouse__create_empty_table(False, new.relation, mart.rows, config.get('contract').enforced, 'create_new') %}
    {%- set sections = [] if flags.EMPTY else run_statement(
        'select section_id, ' ~ course_hash() ~ ' as course_hash, count() as events from ' ~ mart.source
        ~ ' group by section_id, course_id order by section_id, course_hash'
    ).rows -%}
    {%- for slice in slices_of(sections) -%}
        {% do insert_groups(mart, new.relation, slice, 1) %}
    {%- endfor -%}
    {% do record_mart(mart, new.relation, new.id, events) %}
    {%- if existing is none -%}
        {% do beat_claim(mart) %}
        {% do run_statement('rename table ' ~ new.relation ~ ' to ' ~ mart.relation ~ cluster_clause()) %}
    {%- else -%}
        {% do exchange(mart, new) %}
    {%- endif -%}
    {% do release_claim(mart) %}
    {{ return('filled from ' ~ sections | length ~ ' sections') }}
{% endmacro %}

{#- Slices of sections with at most var mart_slice_events events, which limits the memory of a run. A
    course with more is split by learner, which no group is.
    sections  rows: section_id, course_hash, events -#}
{% macro slices_of(sections) %}
    {%- set most = var('mart_slice_events') | int -%}
    {%- set slices = [] -%}
    {%- set open = namespace(sections=[], courses=[], events=0) -%}
    {%- for section_id, course_hash, events in sections -%}
        {%- if events | int > most -%}
            {%- set parts = (events | int + most - 1) // most -%}
            {%- for part in range(parts) -%}
                {% do slices.append(
                    {'sections': [section_id], 'courses': [course_hash], 'parts': parts, 'part': part}
                ) %}
            {%- endfor -%}
        {%- else -%}
            {%- if open.events + events | int > most -%}
                {% do slices.append({'sections': open.sections, 'courses': open.courses, 'parts': 1}) %}
                {%- set open.sections, open.courses, open.events = [], [], 0 -%}
            {%- endif -%}
            {% do open.sections.append(section_id) %}
            {% do open.courses.append(course_hash) %}
            {%- set open.events = open.events + events | int -%}
        {%- endif -%}
    {%- endfor -%}
    {%- if open.sections -%}
        {% do slices.append({'sections': open.sections, 'courses': open.courses, 'parts': 1}) %}
    {%- endif -%}
    {{ return(slices) }}
{% endmacro %}

{#- Condition on events and rows: they are of the slice. -#}
{% macro of_slice(slice) -%}
    (
        section_id in ({{ slice.sections | unique | join(', ') }})
        and (section_id, {{ course_hash() }}) in (
            {%- for section_id in slice.sections -%}
                ({{ section_id }}, {{ slice.courses[loop.index0] }}){{ ', ' if not loop.last }}
            {%- endfor -%}
        )
        {%- if slice.parts > 1 %}
        and cityHash64(learner_id) % {{ slice.parts }} = {{ slice.part }}
        {%- endif %}
    )
{%- endmacro %}

{#- Insert the rows of a slice, or of some groups of it. ClickHouse applies the condition to the
    events, before it groups them. The statement reads the claim, so a former holder inserts nothing.
    groups  table of the groups -#}
{% macro insert_groups(mart, relation, slice, version, groups=none) %}
    {% do beat_claim(mart) %}
    {%- set columns = column_list(relation) -%}
    {%- set sql -%}
        insert into {{ relation }} ({{ columns }})
        select {{ columns }}
        from (select * replace (toUInt64({{ version }}) as version) from ({{ mart.rows }}) as made)
        where {{ of_slice(slice) }}
            {%- if groups %}
            {#- The learners alone leave out most events, before the keys of the others are made. #}
            and learner_id in (select learner_id from {{ groups }})
            and ({{ mart.group_key }}) in (select {{ mart.group_key }} from {{ groups }})
            {%- endif %}
            and (select count() >= 0 from {{ claim_of(mart) }})
        settings optimize_on_insert = 0, min_free_disk_bytes_to_perform_insert = {{ least_room() }}
    {%- endset -%}
    {% do run_statement(sql) %}
{% endmacro %}

{#- Mark the rows of groups without events as deleted. -#}
{% macro insert_gone_groups(mart, version, groups) %}
    {%- set sql -%}
        insert into {{ mart.relation }} ({{ mart.group_key }}, version, is_deleted)
        select {{ mart.group_key }}, {{ version }}, 1
        from {{ groups }}
        where is_gone and (select count() >= 0 from {{ claim_of(mart) }})
    {%- endset -%}
    {% do run_statement(sql) %}
{% endmacro %}
