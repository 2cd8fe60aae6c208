-- The key of the tombstones (erased_learners): one row, made once and never changed, because a
-- tombstone is worth nothing without it. `xapi-elt erase --export` writes both.
create table if not exists {raw:Identifier}.erasure_key $on_cluster
(
    first_half UInt64 comment 'First 64 bits of the key',
    second_half UInt64 comment 'Last 64 bits of the key',
    created_at DateTime64(3, 'UTC') default now64(3, 'UTC') comment 'When the key was made; the earliest row counts'
)
engine = ${replicated}MergeTree
order by (created_at, first_half)
comment 'Key of the tombstones; who can read it can find out whether a known user was erased'
