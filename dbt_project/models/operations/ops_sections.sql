with

statements as (

    select
        *,
        {{ is_voided_statement(ref('int_xapi__statements').render()) }} as is_voided

    from {{ ref('int_xapi__statements').render() }}

),

applied_loads as (

    select
        table_name,
        load_id

    from {{ ref('ops_applied_loads').render() }}

),

events as (

    select * from {{ ref('ops_events').render() }}

),

-- A rejected line may not name its section; the key of its object does.
placed_lines as (

    select
        if(
            section_id = 0 and family = 'rejected',
            toUInt64OrZero(extract(source_path, '(?:^|/)section/([0-9]+)/')),
            section_id
        ) as section,
        if(section = 0, course_id, '') as course,
        family,
        is_voided,
        family not in ({{ families_without_events() }}) and not is_voided as is_event_line,
        is_event_line
        and ({{ table_of_family('family') }}, load_id) not in (select * from applied_loads)
            as is_waiting,
        source_path,
        loaded_at

    from statements

),

lines_by_section as (

    select
        section,
        course,
        uniqExact(source_path) as objects,
        count() as statement_lines,
        countIf(is_event_line) as event_lines,
        countIf(is_waiting) as waiting_lines,
        countIf(family = 'rejected') as rejected,
        countIf(family = 'other' and not is_voided) as other,
        countIf(is_voided) as voided,
        countIf(family in ('blank', 'erased')) as blank,
        max(loaded_at) as last_load_at

    from placed_lines

    group by
        section,
        course

),

events_by_section as (

    select
        section_id as section,
        if(section_id = 0, course_id, '') as course,
        count() as event_count,
        -- Rows whose load is not recorded yet: the run is still going on, or it died.
        countIf(
            ({{ table_of_family('family') }}, load_id) not in (select * from applied_loads)
        ) as events_ahead,
        {% for family in var('event_families') %}
        countIf(family = '{{ family }}') as {{ family }}_events,
        {% endfor %}
        min(timestamp) as first_event,
        max(timestamp) as last_event

    from events

    group by
        section,
        course

),

sections as (

    select
        lines_by_section.section as section_id,
        lines_by_section.course as course_id,
        lines_by_section.objects as objects,
        lines_by_section.statement_lines as statements,
        events_by_section.event_count as events,
        {% for family in var('event_families') %}
        events_by_section.{{ family }}_events as {{ family }}_events,
        {% endfor %}
        lines_by_section.event_lines
        - (lines_by_section.waiting_lines - events_by_section.events_ahead)
        - events_by_section.event_count as duplicates,
        lines_by_section.rejected as rejected,
        lines_by_section.other as other,
        lines_by_section.blank as blank,
        lines_by_section.voided as voided,
        lines_by_section.waiting_lines - events_by_section.events_ahead as waiting,
        if(events_by_section.event_count = 0, null, events_by_section.first_event)
            as first_event_at,
        if(events_by_section.event_count = 0, null, events_by_section.last_event)
            as last_event_at,
        lines_by_section.last_load_at as last_load_at

    from lines_by_section

    left join events_by_section
        on lines_by_section.section = events_by_section.section
        and lines_by_section.course = events_by_section.course

)

select * from sections
