-- The receipts of xapi-elt erase: one row when a run is done. They name nobody.
create table if not exists {raw:Identifier}.erasures $on_cluster
(
    request_id UUID comment 'The run',
    started_at DateTime64(3, 'UTC') comment 'When it began',
    finished_at DateTime64(3, 'UTC') default now64(3, 'UTC') comment 'When it was done',
    receipt String comment 'What was erased and what was left, as JSON' codec(ZSTD(1))
)
engine = ${replicated}MergeTree
order by (started_at, request_id)
comment 'Receipts of erasures'
