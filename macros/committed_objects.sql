{#- The object versions that readers may see, each with the load that holds it: of several
    commits of one version the earliest wins, for ever. Reads the ledger in the order of its
    key. -#}
{% macro committed_objects() %}
    select
        load_id,
        bucket,
        key,
        committed_at

    from {{ source('xapi_raw', 'loads') }}

    where outcome = 'committed'

    order by bucket, key, etag, committed_at, load_id

    limit 1 by bucket, key, etag
{% endmacro %}
