-- Newest event and load of the section, and lines that wait for a table.
select
    (
        select max(timestamp)
        from ops_events
        where
            section_id = {section:UInt64}
    and (section_id > 0 or course_id = {course:String})
    ) as newest_event_at,
    (
        select max(loaded_at)
        from ops_events
        where
            section_id = {section:UInt64}
    and (section_id > 0 or course_id = {course:String})
    ) as newest_load_at,
    (
        select max(lines_waiting)
        from ops_freshness
    ) as lines_waiting
