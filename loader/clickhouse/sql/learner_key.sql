-- The key that makes learner_id (a pseudonym) of a learner's identity: one row. It is stored only
-- here: back it up with the database. Without it the same learner gets another learner_id.
create table if not exists {raw:Identifier}.learner_key $on_cluster
(
    first_half UInt64 comment 'First 64 bits of the key',
    second_half UInt64 comment 'Last 64 bits of the key',
    created_at DateTime64(3, 'UTC') default now64(3, 'UTC') comment 'When the key was made; the earliest row counts'
)
engine = ${replicated}MergeTree
order by (created_at, first_half)
comment 'Key of the pseudonyms; who can read it can find out which learner_id a known user has'
