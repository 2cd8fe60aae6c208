{#- The object versions that readers may see, each with the load that holds it: of several
    commits of one version the earliest wins, for ever. Reads the ledger in the order of its
    key. -#}
{% macro committed_objects() %}
    select
        load_id,
        bucket,
        key,
        committed_at

    from {{ source('xapi_raw', 'loads').render() }}

    where outcome = 'committed'
        and (bucket, key, load_id) not in ({{ superseded_objects() }})

    order by bucket, key, etag, committed_at, load_id

    limit 1 by bucket, key, etag
{% endmacro %}

{#- Committed objects that a later load took the place of: one with policy 'replace' that brought
    another version of the key, or one that was forced. Only keys with such a load are looked at.
    With `held`, a select of load ids: as if the ledger held no other loads. -#}
{% macro superseded_objects(held=none) %}
    select
        bucket,
        key,
        load_id

    from (
        select
            *,
            maxIf((committed_at, load_id), opens_version) over (partition by bucket, key) as opened

        from (
            select
                bucket,
                key,
                load_id,
                committed_at,
                policy = 'force'
                or (
                    policy = 'replace'
                    and etag != lagInFrame(etag) over (
                        partition by bucket, key
                        order by committed_at, load_id
                        rows between unbounded preceding and current row
                    )
                ) as opens_version

            from {{ source('xapi_raw', 'loads').render() }}

            where {{ is_committed(held) }}
                and (bucket, key) in (
                    select bucket, key
                    from {{ source('xapi_raw', 'loads').render() }}
                    where {{ is_committed(held) }} and policy in ('replace', 'force')
                )
        )
    )

    where (committed_at, load_id) < opened
{% endmacro %}

{#- Committed objects whose version another load had committed before, by the time in the ledger.
    Where a later one was in sight first (a server whose clock is behind, an insert that took
    long), tables hold it. Only versions with several commits are looked at; `held` as above. -#}
{% macro repeated_objects(held=none) %}
    select
        bucket,
        key,
        load_id

    from (
        select
            bucket,
            key,
            load_id,
            first_value(load_id) over (
                partition by bucket, key, etag
                order by committed_at, load_id
            ) as first_load

        from {{ source('xapi_raw', 'loads').render() }}

        where {{ is_committed(held) }}
            and (bucket, key, load_id) not in ({{ superseded_objects(held) }})
            and (bucket, key, etag) in (
                select
                    bucket,
                    key,
                    etag
                from {{ source('xapi_raw', 'loads').render() }}
                where {{ is_committed(held) }}
                order by bucket, key, etag, committed_at, load_id
                limit 1 offset 1 by bucket, key, etag
            )
    )

    where load_id != first_load
{% endmacro %}

{#- Committed objects that no reader may see; `held` as above. -#}
{% macro unseen_objects(held=none) %}
    select * from ({{ superseded_objects(held) }})
    union all
    select * from ({{ repeated_objects(held) }})
{% endmacro %}

{#- Condition on rows of the ledger: committed, and of these loads. -#}
{% macro is_committed(held=none) -%}
    outcome = 'committed'{{ ' and load_id in (' ~ held ~ ')' if held }}
{%- endmacro %}
