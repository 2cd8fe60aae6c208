{#- Compares three counts of every committed line: in the ledger, in the statement store and in the
    tables. An event is identified by its id, a rejected line by its place. A line with several
    statements counts as a line with the first of them. -#}
with

objects as (

    select * from {{ ref('ops_objects').render() }}

),

-- Objects that were loaded again: their old lines no longer count; the next run removes the rest.
superseded as (

    select
        load_id,
        source_path

    from objects

    where status = 'superseded'

),

applied_loads as (

    select
        table_name,
        load_id

    from {{ ref('ops_applied_loads').render() }}

),

stored_loads as (

    select load_id

    from applied_loads

    where table_name = 'int_xapi__statements'

),

statements as (

    select
        *,
        {{ is_voided_statement(ref('int_xapi__statements').render()) }} as is_voided

    from {{ ref('int_xapi__statements').render() }}

    where (load_id, source_path) not in (select * from superseded)

),

rejected_statements as (

    select * from {{ ref('rejected_statements').render() }}

),

events as (

    select * from {{ ref('ops_events').render() }}

),

-- Lines that should be rows of a table, and the rows of the tables.
lines_and_rows as (

    select
        family,
        if(
            family = 'rejected',
            {{ hash_id('(load_id, source_path, source_line, source_item)') }},
            event_id
        ) as row_id,
        1 as is_statement,
        source_item <= 1 as is_line,
        ({{ table_of_family('family') }}, load_id) not in (select * from applied_loads)
            as is_waiting,
        0 as is_row,
        0 as is_outdated

    from statements

    where family not in ('other', 'blank', 'erased') and not is_voided

    union all

    select
        family,
        event_id as row_id,
        0 as is_statement,
        0 as is_line,
        0 as is_waiting,
        1 as is_row,
        (load_id, source_path) in (select * from superseded)
        or {{ is_voided_statement(ref('int_xapi__statements').render()) }} as is_outdated

    from events

    union all

    select
        'rejected' as family,
        {{ hash_id('(load_id, source_path, source_line, source_item)') }} as row_id,
        0 as is_statement,
        0 as is_line,
        0 as is_waiting,
        1 as is_row,
        (load_id, source_path) in (select * from superseded) as is_outdated

    from rejected_statements

),

matched as (

    select
        family,
        row_id,
        toInt64(sum(is_line)) as line_count,
        toInt64(sum(is_statement)) as statement_count,
        toInt64(sum(is_waiting)) as waiting_count,
        toInt64(sum(is_row)) as row_count,
        if(statement_count = 0, toInt64(sum(is_outdated)), 0) as outdated_count

    from lines_and_rows

    group by
        family,
        row_id

),

families_with_table as (

    select
        family,
        sum(line_count) as lines,
        sum(statement_count) as statements,
        if(family = 'rejected', 0, sum(row_count - outdated_count)) as events,
        sumIf(statement_count - 1, row_count > 0 and statement_count > 0) as duplicates,
        if(family = 'rejected', sum(row_count - outdated_count), 0) as rejected,
        0 as other,
        0 as blank,
        0 as erased,
        0 as voided,
        sumIf(waiting_count, row_count = 0) as waiting,
        sumIf(statement_count - waiting_count, row_count = 0) as missing,
        sumIf(row_count - outdated_count, statement_count = 0) as surplus,
        sumIf(row_count - 1, row_count > 0 and statement_count > 0) as doubled,
        sum(outdated_count) as outdated

    from matched

    group by family

),

lines_without_table as (

    select
        family,
        toInt64(countIf(source_item <= 1)) as lines,
        toInt64(count()) as statements,
        0 as events,
        0 as duplicates,
        0 as rejected,
        toInt64(countIf(family = 'other' and not is_voided)) as other,
        toInt64(countIf(family = 'blank')) as blank,
        toInt64(countIf(family = 'erased')) as erased,
        toInt64(countIf(is_voided)) as voided,
        0 as waiting,
        0 as missing,
        0 as surplus,
        0 as doubled,
        0 as outdated

    from statements

    where family in ('other', 'blank', 'erased') or is_voided

    group by family

),

-- Lines of the ledger against those of the statement store.
committed_and_stored as (

    select
        load_id,
        toInt64(lines) as committed,
        0 as stored

    from objects

    where status = 'visible'

    union all

    select
        load_id,
        0 as committed,
        source_item <= 1 as stored

    from statements

),

unread_by_load as (

    select
        load_id,
        load_id not in (select * from stored_loads) as is_waiting,
        greatest(sum(committed) - sum(stored), 0) as absent,
        greatest(sum(stored) - sum(committed), 0) as surplus_lines

    from committed_and_stored

    group by load_id

),

all_families as (

    select * from families_with_table

    union all

    select * from lines_without_table

    union all

    select
        'unread' as family,
        sum(absent) - sum(surplus_lines) as lines,
        lines as statements,
        0 as events,
        0 as duplicates,
        0 as rejected,
        0 as other,
        0 as blank,
        0 as erased,
        0 as voided,
        sumIf(absent, is_waiting) as waiting,
        sumIf(absent, not is_waiting) as missing,
        sum(surplus_lines) as surplus,
        0 as doubled,
        0 as outdated

    from unread_by_load

),

summed as (

    select
        arrayJoin([family, 'all']) as family_or_all,
        sum(lines) as lines,
        sum(statements) as statements,
        sum(events) as events,
        sum(duplicates) as duplicates,
        sum(rejected) as rejected,
        sum(other) as other,
        sum(blank) as blank,
        sum(erased) as erased,
        sum(voided) as voided,
        sum(waiting) as waiting,
        sum(missing) as missing,
        sum(surplus) as surplus,
        sum(doubled) as doubled,
        sum(outdated) as outdated

    from all_families

    group by family_or_all

),

balance as (

    select
        family_or_all as family,
        lines,
        statements,
        events,
        duplicates,
        rejected,
        other,
        blank,
        erased,
        voided,
        waiting,
        missing,
        surplus,
        doubled,
        outdated

    from summed

)

select * from balance
