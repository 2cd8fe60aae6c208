-- The ledger: one row per object and load attempt, written last. It is permanent and not
-- partitioned, so that one insert into it is atomic.
create table if not exists {raw:Identifier}.loads $on_cluster
(
    load_id UUID comment 'The load attempt',
    bucket LowCardinality(String) comment 'Bucket of the object; empty for a local file',
    key String comment 'Key of the object, or the path of a local file' codec(ZSTD(1)),
    etag String comment 'Version of the object, without quotes; empty if it could not be read' codec(ZSTD(1)),
    size UInt64 comment 'Bytes of the object as stored' codec(ZSTD(1)),
    last_modified Nullable(DateTime64(3, 'UTC')) comment 'When the object was written' codec(ZSTD(1)),
    rows UInt64 comment 'Lines loaded' codec(ZSTD(1)),
    outcome LowCardinality(String) comment 'committed, failed (nothing of it counts), unknown (no answer in time; nothing of it counts) or missed (that version was overwritten before it was read)',
    error String comment 'Why it is not committed; empty otherwise' codec(ZSTD(1)),
    mode LowCardinality(String) comment 'What requested the load: load, file, event, bulk or test',
    policy LowCardinality(String) comment 'What another version of a loaded key means: append, replace or ignore, or erase (the version without erased learners, which replaces the one before it); force in rows of releases before 0.2 that were loaded again on request',
    forced Bool default false comment 'Whether a version that the ledger shows was loaded again on request' codec(ZSTD(1)),
    commit_number UInt32 default 0 comment 'Which commit of its key this is, from 1: it decides which commit is later, whatever the clocks say; 0 if not committed' codec(ZSTD(1)),
    event_time Nullable(DateTime64(3, 'UTC')) comment 'When S3 sent the notification, if it did' codec(ZSTD(1)),
    started_at DateTime64(3, 'UTC') comment 'When the attempt began' codec(ZSTD(1)),
    committed_at DateTime64(3, 'UTC') default now64(3, 'UTC') comment 'When this row was written' codec(ZSTD(1)),
    duration_ms UInt64 comment 'From start to this row, in milliseconds' codec(ZSTD(1)),
    -- How many objects were committed on each day, and the latest ones: a dbt run asks for both.
    projection by_day (
        select outcome, toDate(committed_at) as day, count() group by outcome, day
    ),
    projection by_time (
        select outcome, committed_at, load_id, rows order by outcome, committed_at
    ),
    -- From this a dbt run reads the objects of the loads that it applies.
    projection by_load (
        select load_id, bucket, key order by load_id
    )
)
engine = ${replicated}MergeTree
order by (bucket, key, etag, committed_at, load_id)
settings lightweight_mutation_projection_mode = 'rebuild'
comment 'One row per object and load attempt; only committed ones count'
