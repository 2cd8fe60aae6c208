-- The objects of every committed load, and which of them readers may see: the one place that knows
-- what a repeated, replaced or forced load means. dbt, skipping, reconcile and status read it.
--
--   visible      its lines count
--   superseded   a later load replaced it: one with policy 'replace' brought another version of the
--                key, one that was forced brought the same version again, or one with policy 'erase'
--                brought this version without erased learners (the last other version before it)
--   repeated     an earlier visible load brought the same version
--
-- Only keys with several commits are examined. A condition on bucket and key reaches the primary
-- key of the ledger through all of this.
create or replace view `$raw`.committed_objects $on_cluster
as
select
    loads.load_id as load_id,
    loads.bucket as bucket,
    loads.key as key,
    loads.etag as etag,
    loads.rows as rows,
    loads.size as size,
    loads.last_modified as last_modified,
    loads.policy as policy,
    loads.forced as forced,
    loads.committed_at as committed_at,
    multiIf(
        resolved.is_superseded = 1, 'superseded',
        resolved.is_repeated = 1, 'repeated',
        'visible'
    ) as status
from `$raw`.loads as loads
left join (
    select
        bucket,
        key,
        load_id,
        first_at,
        is_superseded,
        place > min(place) over (partition by bucket, key, etag, is_superseded) as is_repeated
    from (
        select
            *,
            place < maxIf(place, is_forced) over (partition by bucket, key, etag)
            or place < if(
                etag = last_replacing.2,
                maxIf(place, is_replacing and etag != last_replacing.2)
                    over (partition by bucket, key),
                last_replacing.1
            )
            or arrayExists(
                erasing -> place < erasing.1 and etag = arraySort(arrayFilter(
                    earlier -> earlier.1 < erasing.1 and earlier.2 != erasing.2, commits
                ))[-1].2,
                arrayFilter(one -> one.3, commits)
            ) as is_superseded
        from (
            select
                *,
                maxIf((place, etag), is_replacing) over (partition by bucket, key)
                    as last_replacing,
                if(
                    max(is_erasing) over (partition by bucket, key),
                    groupArray((place, etag, is_erasing)) over (partition by bucket, key),
                    []
                ) as commits
            from (
                -- An insert that arrived twice left two rows; the first one counts.
                select
                    commits.bucket as bucket,
                    commits.key as key,
                    commits.load_id as load_id,
                    any(commits.etag) as etag,
                    min(commits.committed_at) as first_at,
                    (min(commits.commit_number), first_at, load_id) as place,
                    -- Loads forced by a release without the column `forced` have policy 'force'.
                    any(commits.policy) in ('replace', 'force') as is_replacing,
                    any(commits.forced) or any(commits.policy) = 'force' as is_forced,
                    any(commits.policy) = 'erase' as is_erasing
                from `$raw`.loads as commits
                inner join (
                    select bucket, key
                    from `$raw`.loads
                    where outcome = 'committed'
                    group by bucket, key
                    having count() > 1
                ) as several
                    on commits.bucket = several.bucket and commits.key = several.key
                where commits.outcome = 'committed'
                group by bucket, key, load_id
            )
        )
    )
) as resolved
    on loads.bucket = resolved.bucket
    and loads.key = resolved.key
    and loads.load_id = resolved.load_id
where loads.outcome = 'committed'
    and (resolved.load_id = toUUID('00000000-0000-0000-0000-000000000000')
        or loads.committed_at = resolved.first_at)
settings join_use_nulls = 0
