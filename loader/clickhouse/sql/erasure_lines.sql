-- Work of an erasure that is not done: the raw lines that it overwrites, with what takes the place of
-- each. Empty afterwards. A run that was killed goes on from here.
create table if not exists {raw:Identifier}.erasure_lines $on_cluster
(
    load_id UUID comment 'The load attempt that wrote the line',
    bucket String comment 'Bucket of the object; empty for a local file',
    key String comment 'Key of the object, or the path of a local file' codec(ZSTD(1)),
    source_line UInt64 comment 'Number of the line in its object, from 1',
    source_items Array(UInt64) comment 'Which of its statements are erased; [0] for the whole line',
    line String comment 'The line without them' codec(ZSTD(1))
)
engine = ${replicated}MergeTree
order by (load_id, bucket, key, source_line)
comment 'Lines that a running erasure overwrites'
