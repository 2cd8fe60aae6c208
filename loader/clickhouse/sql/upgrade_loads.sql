-- What an old ledger lacks (see loads.sql).
alter table {raw:Identifier}.loads $on_cluster
    add column if not exists forced Bool default false
        comment 'Whether a version that the ledger shows was loaded again on request' codec(ZSTD(1))
        after policy,
    add column if not exists commit_number UInt32 default 0
        comment 'Which commit of its key this is, from 1: it decides which commit is later, whatever the clocks say; 0 if not committed'
        codec(ZSTD(1))
        after forced,
    add projection if not exists by_day (
        select outcome, toDate(committed_at) as day, count() group by outcome, day
    ),
    add projection if not exists by_time (
        select outcome, committed_at, load_id, rows order by outcome, committed_at
    ),
    add projection if not exists by_load (
        select load_id, bucket, key order by load_id
    ),
    -- Last: what follows would be read as another setting.
    modify setting lightweight_mutation_projection_mode = 'rebuild'
