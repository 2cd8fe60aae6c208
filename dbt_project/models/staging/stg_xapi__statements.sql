{#- A view: it stores nothing, and ClickHouse pushes a filter on load_id down to the keys of both
    raw tables. In the database it is made of several views (part_ends). It names its sources with
    render(), because `--empty` would otherwise leave a view behind that is always empty, and the next
    run of a table would read from it. -#}
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

{{ items_of('lines') }},

-- The statements of erased learners count as if they had been overwritten already, wherever they
-- come from. (A condition that is a constant costs nothing.)
items_that_count as (

    select
        * except (was_plain, found_text, found_json, is_erased),
        was_plain and not is_erased as is_plain,
        if({{ has_tombstones() }}, if(is_erased, '{{ erased_line() }}', found_text), found_text) as item_text,
        if({{ has_tombstones() }}, if(is_erased, '{{ erased_line() }}', found_json), found_json) as json

    from (
        select
            * except (is_plain, item_text, json),
            is_plain as was_plain,
            item_text as found_text,
            json as found_json,
            {{ is_of_erased_learner('json') }} as is_erased

        from items
    )

),

statements as (

    select
        *,
        {{ parse_statement('json') }} as statement

    from items_that_count

),

{{ part_ends('statements') }}

statements_with_extensions as (

    select
        *,
        {{ all_extensions_of('context') }} as context_extensions,
        {{ all_extensions_of('result') }} as result_extensions,
        {{ all_extensions_of('object') }} as object_other

    from statements

),

parsed as (

    select
        *,
        {{ extensions_of('context', 'torus') }} as context_torus,
        {{ extensions_of('context', 'video') }} as context_video,
        {{ other_extensions_of('context') }} as context_other,
        {{ extensions_of('result', 'video') }} as result_video,
        {{ other_extensions_of('result') }} as result_other,
        coalesce({{ given_text(member('timestamp')) }}, {{ member('stored') }}) as time_text,
        {{ learner() }} as learner,
        toLowCardinality(coalesce({{ member('verb', 'id') }}, '')) as verb_iri,
        toLowCardinality(coalesce({{ member('object', 'definition', 'type') }}, '')) as object_type,
        coalesce({{ member('object', 'objectType') }}, '') in ('', 'Activity') as is_activity,
        {{ activities_of('parent') }} as parents,
        {{ activities_of('grouping') }} as groupings,
        {{ activities_of('category') }} as categories

    from statements_with_extensions

),

{{ part_ends('parsed') }}

described as (

    select
        *,
        {{ statement_time('time_text') }} as occurred_at,
        coalesce({{ member('id') }}, '') != '' as has_id,
        coalesce({{ is_random(member('id')) }}, false) as has_random_id,
        {{ without_scheme('verb_iri') }} as verb_name,
        {{ without_scheme('object_type') }} as type_name,
        learner.1 = '' and startsWith(coalesce({{ member('actor', 'member') }}, ''), '[')
        and JSONLength(assumeNotNull({{ member('actor', 'member') }})) > 0 as is_anonymous_group,
        {{ context_text('torus', 'part_attempt_guid') }} is not null as has_part_attempt,
        {{ context_text('torus', 'activity_attempt_guid') }} is not null as has_activity_attempt,
        {{ context_text('torus', 'page_attempt_guid') }} is not null as has_page_attempt,
        {{ has_video_extension() }} as has_video_extension,
        {{ has_category(xapi_iri('category_prefix', 'interactive_video')) }}
            as is_interactive_video,
        {{ first_measure([
            extension('result', 'video', 'time'),
            extension('context', 'video', 'time'),
            extension('context', 'older_video', 'ending-point'),
            extension('result', 'older_video', 'ending-point'),
            extension('context', 'older_video', 'starting-point'),
            extension('result', 'older_video', 'starting-point'),
            extension('result', 'youtube_wrapper', 'resumed'),
        ]) }} as time_measure,
        {{ first_measure([
            extension('context', 'video', 'length'),
            extension('result', 'video', 'length'),
            extension('object', 'video', 'length'),
            extension('object', 'older_video', 'duration'),
            extension('context', 'older_video', 'duration'),
            extension('result', 'older_video', 'duration'),
        ], '> 0') }} as length_measure,
        {{ first_measure([
            extension('result', 'video', 'time-from'), extension('context', 'video', 'time-from')
        ]) }} as seek_from_measure,
        {{ first_measure([
            extension('result', 'video', 'time-to'), extension('context', 'video', 'time-to')
        ]) }} as seek_to_measure,
        {{ member('result', 'duration') }} as duration_measure

    from parsed

),

judged as (

    select
        *,
        {{ derived_key() }} as derived_key,
        {{ durations() }} as durations,
        is_plain or startsWith(item_text, '{') as is_object,
        coalesce(
            occurred_at >= toDateTime64('{{ var('earliest_event') }}', 3, 'UTC')
            and occurred_at <= loaded_at + interval 1 day,
            false
        ) as is_plausible,
        learner.1 != '' or is_anonymous_group as has_actor

    from described

),

rejects as (

    select
        *,

        -- ClickHouse computes all branches for all lines. The inner `if` keeps the expensive check
        -- from the lines that passed the cheap ones.
        multiIf(
            is_plausible and is_object and verb_iri != '' and has_actor, '',
            not is_plain and item_text in ('', '{{ erased_line() }}'), '',
            not is_plain and not isValidJSON(if(is_plain, '', json)), 'not JSON',
            not is_object, 'not an object',
            occurred_at is null, 'no usable timestamp',
            not is_plausible, 'implausible timestamp',
            verb_iri = '', 'no verb',
            'no actor'
        ) as reject_reason

    from judged

),

classified as (

    select
        *,
        multiIf(
            not is_plain and item_text = '', 'blank',
            not is_plain and item_text = '{{ erased_line() }}', 'erased',
            reject_reason != '', 'rejected',
            {{ family_of() }}
        ) as family

    from rejects

)

{{ part_ends('classified') }}

select
    -- ids
    {{ event_id() }} as event_id,
    load_id,
    bucket,
    key,
    source_path,
    source_line,
    source_item,
    {{ given_text(member('id')) }} as statement_id,
    nullIf(learner.3, '') as user_id,
    {{ given_text(member('actor', 'account', 'homePage')) }} as home_page,
    if(learner.1 = '', null, {{ learner_id('learner') }}) as learner_id,
    toLowCardinality(learner.1) as learner_kind,
    coalesce({{ context_number('torus', 'section_id') }}, 0) as section_id,
    {{ course_of('parents', 'groupings', 'categories') }} as course_id,
    {{ context_number('torus', 'project_id') }} as project_id,
    {{ context_number('torus', 'publication_id') }} as publication_id,
    coalesce(
        {{ context_number('torus', 'resource_id') }},
        {{ context_number('torus', 'page_id') }}
    ) as page_id,
    {{ context_text('torus', 'page_attempt_guid') }} as page_attempt_guid,
    {{ context_number('torus', 'page_attempt_number') }} as page_attempt_number,
    {{ context_number('torus', 'enrollment_id') }} as enrollment_id,
    {{ context_text('torus', 'activity_attempt_guid') }} as activity_attempt_guid,
    {{ context_number('torus', 'activity_attempt_number') }} as activity_attempt_number,
    {{ context_number('torus', 'activity_id') }} as activity_id,
    {{ context_number('torus', 'activity_revision_id') }} as activity_revision_id,
    {{ context_text('torus', 'part_attempt_guid') }} as part_attempt_guid,
    {{ context_number('torus', 'part_attempt_number') }} as part_attempt_number,
    {{ context_text('torus', 'part_id') }} as part_id,
    {{ context_text('torus', 'content_element_id') }} as content_element_id,
    coalesce(
        {{ video_extension('session-id', given_text) }},
        {{ context_text('openedx', 'session-id') }},
        {{ context_text('cmi5', 'sessionid') }},
        {{ context_text('torus', 'session_id') }}
    ) as session_id,
    coalesce(
        {{ given_text(member('registration')) }},
        {{ given_text(member('context', 'registration')) }}
    ) as registration,

    -- text; columns with few different values are dictionary-encoded
    toLowCardinality(family) as family,
    toLowCardinality(reject_reason) as reject_reason,
    transform(
        {{ short_name('verb_iri') }}, ['play', 'skipped', 'watch'], ['played', 'seeked', 'watched']
    ) as verb,
    verb_iri,
    {{ given_text(member('object', 'id')) }} as object_id,
    object_type,
    {{ title() }} as object_title,
    {{ given_text(member('object', 'definition', 'subType')) }} as page_sub_type,
    {{ video_extension('played-segments', as_it_is, ['result', 'context']) }}
        as video_played_segments,
    {{ video_extension('quality', given_text) }} as video_quality,
    {{ video_extension('cc-subtitle-lang', given_text) }} as caption_language,
    {{ member('result', 'response') }} as response,
    {{ extension('result', 'torus', 'feedback') }} as feedback,
    {{ extension('context', 'torus', 'attached_objectives') }} as attached_objectives,
    multiIf(family != 'rejected', '', source_item = 0, whole_line, item_text) as rejected_line,
    {{ unread_session_key() }} as unread_session_key,

    -- numbers
    {{ seconds('time_measure') }} as video_time,
    {{ seconds('length_measure') }} as video_length,
    {{ video_extension('progress', finite_number, ['result', 'context']) }} as video_progress,
    {{ seconds('seek_from_measure') }} as video_seek_from,
    {{ seconds('seek_to_measure') }} as video_seek_to,
    {{ video_extension('completion-threshold', finite_number) }} as video_completion_threshold,
    {{ video_extension('speed', speed) }} as video_speed,
    {{ video_extension('volume', finite_number) }} as video_volume,
    {{ video_extension('full-screen', truth) }} as is_full_screen,
    coalesce(
        {{ video_extension('cc-enabled', truth) }},
        {{ video_extension('cc-subtitle-enabled', truth) }}
    ) as is_captioned,
    {{ seconds('duration_measure') }} as duration_seconds,
    {{ finite_number(member('result', 'score', 'raw')) }} as score,
    {{ finite_number(member('result', 'score', 'max')) }} as out_of,
    {{ finite_number(member('result', 'score', 'scaled')) }} as scaled_score,
    if(
        startsWith({{ extension('context', 'torus', 'hints_requested') }}, '[')
        and isValidJSON({{ extension('context', 'torus', 'hints_requested') }}),
        JSONLength({{ extension('context', 'torus', 'hints_requested') }}),
        {{ context_number('torus', 'hints_requested') }}
    ) as hints_requested,
    {{ truth(member('result', 'success')) }} as success,
    {{ truth(member('result', 'completion')) }} as completion,
    notEmpty(context_torus) as has_torus_extensions,

    -- times
    occurred_at as timestamp,
    loaded_at

from classified
