with

ledger as (

    select * from {{ source('xapi_raw', 'loads').render() }}

),

unseen as (

    {{ unseen_objects() }}

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
            unseen.is_superseded = 1, 'superseded',
            unseen.is_repeated = 1 or unseen.is_duplicate = 1, 'repeated',
            'visible'
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

    left any join unseen
        on ledger.bucket = unseen.bucket
        and ledger.key = unseen.key
        and ledger.load_id = unseen.load_id
        and ledger.committed_at = unseen.committed_at

)

select * from objects
