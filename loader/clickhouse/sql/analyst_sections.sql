-- Which course sections each analyst may see: the row policies of `xapi-elt grants --role analyst
-- --section` read it, and an operator fills it. It is beside the analysts' views; each analyst sees
-- their own rows of it.
create table if not exists `$analysts`.analyst_sections $on_cluster
(
    user_name LowCardinality(String) comment 'Name of the ClickHouse user',
    section_id UInt64 comment 'A course section that the user may see; 0 for a course',
    course_id String default '' comment 'A course of statements without a section; empty for a section' codec(ZSTD(1)),
    added_at DateTime64(3, 'UTC') default now64(3, 'UTC') comment 'When the row was written' codec(ZSTD(1)),
    constraint section_or_course check (section_id = 0) = (course_id != '')
)
engine = ${replicated}MergeTree
order by (user_name, section_id, course_id)
comment 'Which course sections each analyst may see'
