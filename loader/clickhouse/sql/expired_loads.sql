-- Loads whose raw lines were removed on purpose. The ledger keeps their rows; rebuilds and full
-- refreshes keep the rows of tables that came from them, because they cannot be read again.
create table if not exists {raw:Identifier}.expired_loads $on_cluster
(
    load_id UUID comment 'The load',
    lines UInt64 comment 'Lines that were removed' codec(ZSTD(1)),
    expired_at DateTime64(3, 'UTC') default now64(3, 'UTC') comment 'When they were removed' codec(ZSTD(1))
)
engine = ${replicated}MergeTree
order by load_id
comment 'Loads whose raw lines were removed on purpose'
