with

ledger as (

    select * from {{ source('xapi_raw', 'loads').render() }}

),

committed as (

    {{ committed_objects() }}

),

superseded as (

    {{ superseded_objects() }}

),

visible as (

    select
        load_id,
        bucket,
        key

    from committed

),

objects as (

    select
        load_id,
        bucket,
        key,
        etag,
        if(bucket = '', key, concat(bucket, '/', key)) as source_path,
        multiIf(
            outcome != 'committed', toString(outcome),
            (load_id, bucket, key) in (select * from visible), 'visible',
            (bucket, key, load_id) in (select * from superseded), 'superseded',
            'repeated'
        ) as status,
        error,
        mode,
        policy,
        size as bytes,
        `rows` as lines,
        last_modified,
        event_time,
        started_at,
        committed_at,
        duration_ms

    from ledger

)

select * from objects
