with

ledger as (

    select * from {{ source('xapi_raw', 'loads').render() }}

),

committed as (

    select * from {{ source('xapi_raw', 'committed_objects').render() }}

),

objects as (

    select
        ledger.load_id as load_id,
        ledger.bucket as bucket,
        ledger.key as key,
        ledger.etag as etag,
        if(
            ledger.bucket = '', ledger.key, concat(ledger.bucket, '/', ledger.key)
        ) as source_path,
        multiIf(
            ledger.outcome != 'committed', toString(ledger.outcome),
            -- The second row of a ledger insert that arrived twice.
            committed.load_id != ledger.load_id, 'repeated',
            toString(committed.status)
        ) as status,
        ledger.error as error,
        ledger.mode as mode,
        ledger.policy as policy,
        ledger.size as bytes,
        ledger.`rows` as lines,
        ledger.last_modified as last_modified,
        ledger.event_time as event_time,
        ledger.started_at as started_at,
        ledger.committed_at as committed_at,
        ledger.duration_ms as duration_ms

    from ledger

    left any join committed
        on ledger.bucket = committed.bucket
        and ledger.key = committed.key
        and ledger.load_id = committed.load_id
        and ledger.committed_at = committed.committed_at

)

select * from objects
