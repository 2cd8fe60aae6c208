{#- Select: the object versions that readers may see, each with its load: all committed ones except
    unseen_objects. ClickHouse pushes a condition on (bucket, key) down to the ledger's key. -#}
{% macro committed_objects() %}
    select
        loads.load_id as load_id,
        loads.bucket as bucket,
        loads.key as key,
        loads.committed_at as committed_at

    from {{ source('xapi_raw', 'loads').render() }} as loads

    left anti join (
        {{ unseen_objects() }}
    ) as unseen
        on loads.bucket = unseen.bucket
        and loads.key = unseen.key
        and loads.load_id = unseen.load_id
        and loads.committed_at = unseen.committed_at

    where loads.outcome = 'committed'
{% endmacro %}

{#- Select: committed rows of the ledger that no reader may see, and why.

    is_superseded   a later load replaced the object: one with policy 'replace' that loaded another
                    version of the key, or a forced one
    is_repeated     of several loads of one version only the one that was committed first counts,
                    always; if a later one became visible first (a server whose clock is slow, an
                    insert that took long), tables may hold its rows for a while
    is_duplicate    the load has an earlier row for the object: its insert arrived twice

    Only keys with several rows are compared. `held`, a select of load ids, limits the ledger to
    these loads; `objects`, a select of bucket and key, to these objects. -#}
{% macro unseen_objects(held=none, objects=none) %}
    select
        bucket,
        key,
        load_id,
        committed_at,
        is_superseded,
        (first_at, load_id) > first_of_version as is_repeated,
        committed_at > first_at as is_duplicate

    from (
        select
            *,
            min((first_at, load_id)) over (
                partition by bucket, key, etag, is_superseded
            ) as first_of_version

        from (
            select
                *,
                (first_at, load_id) < maxIf((first_at, load_id), opens_version) over (
                    partition by bucket, key
                ) as is_superseded

            from (
                select
                    *,
                    policy = 'force'
                    or (
                        policy = 'replace'
                        and etag != lagInFrame(etag) over (
                            partition by bucket, key
                            order by first_at, load_id
                            rows between unbounded preceding and current row
                        )
                    ) as opens_version

                from (
                    select
                        commits.bucket as bucket,
                        commits.key as key,
                        commits.etag as etag,
                        commits.load_id as load_id,
                        commits.committed_at as committed_at,
                        commits.policy as policy,
                        min(commits.committed_at) over (
                            partition by commits.bucket, commits.key, commits.load_id
                        ) as first_at

                    from ({{ commits(held, objects) }}) as commits

                    inner join (
                        select
                            bucket,
                            key
                        from ({{ commits(held, objects) }})
                        group by bucket, key
                        having count() > 1
                    ) as several
                        on commits.bucket = several.bucket
                        and commits.key = several.key
                )
            )
        )
    )

    where is_superseded or is_repeated or is_duplicate
{% endmacro %}

{#- Select: committed rows of the ledger; `held` and `objects` as above. -#}
{% macro commits(held=none, objects=none) %}
    select
        bucket,
        key,
        etag,
        load_id,
        committed_at,
        policy

    from {{ source('xapi_raw', 'loads').render() }}

    where outcome = 'committed'
        {%- if held %}
        and load_id in ({{ held }})
        {%- endif %}
        {%- if objects %}
        and (bucket, key) in ({{ objects }})
        {%- endif %}
{% endmacro %}
