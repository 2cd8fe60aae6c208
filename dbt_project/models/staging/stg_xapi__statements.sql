{{ config(post_hook = "{{ record_parse() }}") }}

{#- A view: it stores nothing, and ClickHouse pushes a filter on load_id down to the keys of both
    raw tables. It names its sources with render(), because `--empty` would otherwise leave a view
    behind that is always empty, and the next run of a table would read from it. -#}
with

committed as (

    select
        load_id,
        bucket,
        key,
        committed_at

    from {{ source('xapi_raw', 'committed_objects').render() }}

    where status = 'visible'

),

lines as (

    select
        statements.load_id as load_id,
        committed.bucket as bucket,
        committed.key as key,
        if(
            statements.bucket = '',
            toString(statements.key),
            concat(statements.bucket, '/', statements.key)
        ) as source_path,
        statements.source_line as source_line,
        committed.committed_at as loaded_at,
        statements.line as line

    from {{ source('xapi_raw', 'statements').render() }} as statements

    -- Semi: a ledger row that was inserted twice must not double lines.
    left semi join committed
        on statements.load_id = committed.load_id
        and statements.bucket = committed.bucket
        and statements.key = committed.key

),

parsed as (

    select
        *,
        {{ parse_statement('line') }} as statement,
        {{ statement_time(member('timestamp')) }} as occurred_at,
        coalesce(
            nullIf({{ member('actor', 'account', 'name') }}, ''),
            nullIf({{ member('actor', 'mbox') }}, ''),
            nullIf({{ member('actor', 'mbox_sha1sum') }}, ''),
            nullIf({{ member('actor', 'openid') }}, '')
        ) as actor,
        coalesce({{ member('verb', 'id') }}, '') as verb_iri,
        coalesce({{ member('object', 'definition', 'type') }}, '') as object_type,
        coalesce(
            {{ member('object', 'definition', 'name') }}['en-US'],
            arrayFirst(
                title -> isNotNull(title),
                mapValues({{ member('object', 'definition', 'name') }})
            )
        ) as title,
        coalesce(
            {{ first_activity_id(member('context', 'contextActivities', 'parent')) }},
            {{ first_activity_id(member('context', 'contextActivities', 'grouping')) }},
            ''
        ) as course

    from lines

),

classified as (

    select
        *,

        -- JSONExtract reads an array by position, so check that the line is an object.
        startsWith(line, '{')
        or match(if(startsWith(line, '{'), '', line), '^\\x{FEFF}?\\s*\\{') as is_object,
        isValidUTF8(line) as is_text,
        occurred_at >= toDateTime64('1970-01-01', 6, 'UTC')
        and occurred_at < toDateTime64('2200-01-01', 6, 'UTC') as is_timed,
        is_object
        and is_text
        and coalesce(is_timed, false)
        and verb_iri != ''
        and isNotNull(actor) as is_usable,

        -- ClickHouse computes all branches for all lines. The inner `if` keeps the expensive check
        -- from the lines that passed the cheap ones.
        multiIf(
            is_usable, '',
            not isValidJSON(if(is_usable, '', line)) or not is_text, 'not JSON',
            not is_object, 'not an object',
            not coalesce(is_timed, false), 'no usable timestamp',
            verb_iri = '', 'no verb',
            'no actor'
        ) as reject_reason,

        multiIf(
            reject_reason != '', 'rejected',

            object_type = {{ xapi_type('video') }}, 'video',
            verb_iri = {{ xapi_verb('completed') }}
            and object_type = {{ xapi_type('activity_attempt') }}, 'activity_attempt',
            verb_iri = {{ xapi_verb('completed') }}
            and object_type = {{ xapi_type('page_attempt') }}, 'page_attempt',
            verb_iri = {{ xapi_verb('completed') }}
            and object_type = {{ xapi_type('part_attempt') }}, 'part_attempt',
            verb_iri in ({{ xapi_verb('viewed') }}, {{ xapi_verb('experienced') }})
            and object_type = {{ xapi_type('page') }}, 'page_viewed',

            startsWith(verb_iri, {{ xapi_verb_prefix('video') }}), 'video',
            verb_iri = {{ xapi_verb('experienced') }}, 'video',

            'other'
        ) as family

    from parsed

)

select
    -- ids
    if(
        family in ('rejected', 'other'),
        {{ hash_id("if(family in ('rejected', 'other'), line, '')") }},
        {{ hash_id(statement_content()) }}
    ) as event_id,
    load_id,
    bucket,
    key,
    source_path,
    source_line,
    {{ member('id') }} as statement_id,
    actor as user_id,
    {{ member('actor', 'account', 'homePage') }} as home_page,
    coalesce({{ whole_number(context_extension('torus', 'section_id')) }}, 0) as section_id,
    course as course_id,
    {{ whole_number(context_extension('torus', 'project_id')) }} as project_id,
    {{ whole_number(context_extension('torus', 'publication_id')) }} as publication_id,
    coalesce(
        {{ whole_number(context_extension('torus', 'resource_id')) }},
        {{ whole_number(context_extension('torus', 'page_id')) }}
    ) as page_id,
    {{ context_extension('torus', 'page_attempt_guid') }} as page_attempt_guid,
    {{ whole_number(context_extension('torus', 'page_attempt_number')) }} as page_attempt_number,
    {{ context_extension('torus', 'activity_attempt_guid') }} as activity_attempt_guid,
    {{ whole_number(context_extension('torus', 'activity_attempt_number')) }}
        as activity_attempt_number,
    {{ whole_number(context_extension('torus', 'activity_id')) }} as activity_id,
    {{ whole_number(context_extension('torus', 'activity_revision_id')) }} as activity_revision_id,
    {{ context_extension('torus', 'part_attempt_guid') }} as part_attempt_guid,
    {{ whole_number(context_extension('torus', 'part_attempt_number')) }} as part_attempt_number,
    {{ context_extension('torus', 'part_id') }} as part_id,
    {{ context_extension('torus', 'content_element_id') }} as content_element_id,
    coalesce(
        {{ context_extension('video', 'session-id') }},
        {{ context_extension('torus', 'session_id') }}
    ) as session_id,
    coalesce({{ member('registration') }}, {{ member('context', 'registration') }}) as registration,

    -- text; columns with few different values are dictionary-encoded
    toLowCardinality(family) as family,
    toLowCardinality(reject_reason) as reject_reason,
    toLowCardinality({{ short_name('verb_iri') }}) as verb,
    toLowCardinality(verb_iri) as verb_iri,
    {{ member('object', 'id') }} as object_id,
    toLowCardinality(object_type) as object_type,
    title as object_title,
    {{ member('object', 'definition', 'subType') }} as page_sub_type,
    {{ result_extension('video', 'played-segments') }} as video_played_segments,
    {{ member('result', 'response') }} as response,
    {{ result_extension('torus', 'feedback') }} as feedback,
    {{ context_extension('torus', 'attached_objectives') }} as attached_objectives,
    if(family = 'rejected', line, '') as rejected_line,

    -- numbers
    {{ finite_number(result_extension('video', 'time')) }} as video_time,
    coalesce(
        {{ finite_number(context_extension('video', 'length')) }},
        {{ finite_number(result_extension('video', 'length')) }},
        {{ finite_number(
            member('object', 'definition', 'extensions', xapi_extension('video', 'length'))
        ) }}
    ) as video_length,
    {{ finite_number(result_extension('video', 'progress')) }}
        as video_progress,
    {{ finite_number(result_extension('video', 'time-from')) }}
        as video_seek_from,
    {{ finite_number(result_extension('video', 'time-to')) }}
        as video_seek_to,
    {{ finite_number(member('result', 'score', 'raw')) }} as score,
    {{ finite_number(member('result', 'score', 'max')) }} as out_of,
    {{ finite_number(member('result', 'score', 'scaled')) }} as scaled_score,
    if(
        startsWith({{ context_extension('torus', 'hints_requested') }}, '[')
        and isValidJSON({{ context_extension('torus', 'hints_requested') }}),
        JSONLength({{ context_extension('torus', 'hints_requested') }}),
        {{ whole_number(context_extension('torus', 'hints_requested')) }}
    ) as hints_requested,
    {{ truth(member('result', 'success')) }} as success,
    {{ truth(member('result', 'completion')) }} as completion,

    -- times
    toDateTime64(occurred_at, 3, 'UTC') as timestamp,
    loaded_at

from classified
