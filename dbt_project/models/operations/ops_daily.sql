with

objects as (

    select * from {{ ref('ops_objects').render() }}

),

applied_loads as (

    select
        table_name,
        load_id

    from {{ ref('ops_applied_loads').render() }}

),

statements as (

    select
        *,
        {{ is_voided_statement(ref('int_xapi__statements').render()) }} as is_voided

    from {{ ref('int_xapi__statements').render() }}

),

events as (

    select * from {{ ref('ops_events').render() }}

),

-- Only objects that S3 sent a notification of; an object of a bulk load may be years old.
timed_objects as (

    select
        *,
        coalesce(status = 'visible' and mode = 'event' and isNotNull(last_modified), false)
            as was_notified,
        coalesce(dateDiff('millisecond', last_modified, committed_at), 0) / 1000
            as seconds_to_commit

    from objects

),

loads_by_day as (

    select
        toDate(committed_at) as day,
        uniqExact(load_id) as loads,
        countIf(status = 'visible') as objects_visible,
        countIf(status = 'repeated') as objects_repeated,
        countIf(status = 'superseded') as objects_superseded,
        countIf(status = 'failed') as objects_failed,
        countIf(status = 'unknown') as objects_unknown,
        countIf(status = 'missed') as objects_missed,
        sumIf(lines, status = 'visible') as lines_visible,
        sumIf(bytes, status = 'visible') as bytes_visible,
        quantileExactOrNullIf(0.5)(seconds_to_commit, was_notified) as commit_seconds_median,
        quantileExactOrNullIf(0.95)(seconds_to_commit, was_notified) as commit_seconds_p95,
        maxOrNullIf(seconds_to_commit, was_notified) as commit_seconds_max

    from timed_objects

    group by day

),

lines_by_day as (

    select
        toDate(loaded_at) as day,
        countIf(family = 'rejected') as rejected,
        countIf(family = 'other' and not is_voided) as other,
        countIf(is_voided) as voided,
        countIf(family in ('blank', 'erased')) as blank,
        countIf(family not in ({{ families_without_events() }}) and not is_voided) as event_lines,
        countIf(
            family not in ({{ families_without_events() }})
            and not is_voided
            and ({{ table_of_family('family') }}, load_id) not in (select * from applied_loads)
        ) as waiting_lines

    from statements

    group by day

),

events_by_day as (

    select
        toDate(loaded_at) as day,
        {% for family in var('event_families') %}
        countIf(family = '{{ family }}') as {{ family }}_events,
        {% endfor %}
        count() as event_count,
        -- Rows whose load is not recorded yet: the run is still going on, or it died.
        countIf(
            ({{ table_of_family('family') }}, load_id) not in (select * from applied_loads)
        ) as events_ahead

    from events

    group by day

),

daily as (

    select
        loads_by_day.day as day,
        loads_by_day.loads as loads,
        loads_by_day.objects_visible as objects_visible,
        loads_by_day.objects_repeated as objects_repeated,
        loads_by_day.objects_superseded as objects_superseded,
        loads_by_day.objects_failed as objects_failed,
        loads_by_day.objects_unknown as objects_unknown,
        loads_by_day.objects_missed as objects_missed,
        loads_by_day.lines_visible as lines,
        loads_by_day.bytes_visible as bytes,
        events_by_day.event_count as events,
        {% for family in var('event_families') %}
        events_by_day.{{ family }}_events as {{ family }}_events,
        {% endfor %}
        lines_by_day.event_lines
        - (lines_by_day.waiting_lines - events_by_day.events_ahead)
        - events_by_day.event_count as duplicates,
        lines_by_day.rejected as rejected,
        lines_by_day.other as other,
        lines_by_day.blank as blank,
        lines_by_day.voided as voided,
        lines_by_day.waiting_lines - events_by_day.events_ahead as waiting,
        loads_by_day.commit_seconds_median as commit_seconds_median,
        loads_by_day.commit_seconds_p95 as commit_seconds_p95,
        loads_by_day.commit_seconds_max as commit_seconds_max

    from loads_by_day

    left join lines_by_day on loads_by_day.day = lines_by_day.day

    left join events_by_day on loads_by_day.day = events_by_day.day

)

select * from daily
