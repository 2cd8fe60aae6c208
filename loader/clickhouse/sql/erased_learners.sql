-- Tombstones: what keeps an erased learner out of every later load, rebuild and restore. A learner
-- has one for each form of the identity. No identity can be read from them.
create table if not exists {raw:Identifier}.erased_learners $on_cluster
(
    identity_hash UUID comment 'Hash of the identity with the key in erasure_key',
    kind LowCardinality(String) comment 'What was hashed: account, mbox_sha1sum (also of an mbox) or openid',
    reason String comment 'Why, as it was given',
    request_id UUID comment 'The run of xapi-elt erase that wrote it',
    erased_at DateTime64(3, 'UTC') default now64(3, 'UTC') comment 'When it was written'
)
engine = ${replicated}MergeTree
order by (identity_hash, erased_at)
comment 'Hashes of erased learners, whose statements no reader sees'
