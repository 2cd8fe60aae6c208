-- One row per line of an object, from every load attempt. Only rows whose load the ledger has as
-- committed count; readers use stg_xapi__statements.
-- Ordered by load, because increments read whole loads; partitioned by the time of loading,
-- because one object may hold events of many months.
create table if not exists {raw:Identifier}.statements $on_cluster
(
    load_id UUID comment 'The load attempt that wrote the row',
    bucket LowCardinality(String) comment 'Bucket of the object; empty for a local file',
    key LowCardinality(String) comment 'Key of the object, or the path of a local file',
    etag LowCardinality(String) comment 'Version of the object, without quotes; of a local file its MD5',
    object_size UInt64 comment 'Bytes of the object as stored (compressed, if it is)' codec(ZSTD(1)),
    last_modified DateTime64(3, 'UTC') comment 'When the object was written' codec(ZSTD(1)),
    source_line UInt64 comment 'Number of the line in its object, from 1' codec(DoubleDelta, ZSTD(1)),
    line String comment 'The line, unchanged' codec(ZSTD(1)),
    loaded_at DateTime64(3, 'UTC') default now64(3, 'UTC') comment 'When the row was written' codec(ZSTD(1))
)
engine = ${replicated}MergeTree
partition by toYYYYMM(loaded_at)
order by (load_id, bucket, key, source_line)
-- A merge has some granules of each part in memory: with the default size of 10 MB, 32 MB a part.
-- It waits for 12 young parts of similar size, not 5, or a large load would merge lines twice.
settings index_granularity_bytes = 1048576, merge_selector_base = 12
comment 'Lines of statements as they were read; see loads for those that count'
