-- Columns that releases before 0.2 did not have.
alter table {raw:Identifier}.loads $on_cluster
    add column if not exists forced Bool default false
        comment 'Whether it was loaded although the ledger held this version' codec(ZSTD(1))
        after policy,
    add column if not exists commit_number UInt32 default 0
        comment 'Which commit of its key this is, from 1: decides which is later, whatever the clocks say; 0 if not committed'
        codec(ZSTD(1))
        after forced
