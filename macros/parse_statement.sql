{#- Parse a line: one JSONExtract reads everything that the models need (five times as fast as one
    call for each field). It reads every scalar as text, and the models convert the text: an id may
    be a number or a string, and a boolean or 12.5 must not count as a whole number. A member that
    is missing or null, or whose parent is not an object, is NULL. -#}
{% macro parse_statement(line) %}
    {%- set text = 'Nullable(String)' -%}
    {%- set type -%}
        Tuple(
            id {{ text }},
            timestamp {{ text }},
            registration {{ text }},
            actor Tuple(
                mbox {{ text }},
                mbox_sha1sum {{ text }},
                openid {{ text }},
                account Tuple(name {{ text }}, homePage {{ text }})
            ),
            verb Tuple(id {{ text }}),
            object Tuple(
                id {{ text }},
                definition Tuple(
                    type {{ text }},
                    subType {{ text }},
                    name Map(String, {{ text }}),
                    extensions Tuple({{ tuple_members('video', ['length']) }})
                )
            ),
            result Tuple(
                success {{ text }},
                completion {{ text }},
                response {{ text }},
                score Tuple(raw {{ text }}, max {{ text }}, scaled {{ text }}),
                extensions Tuple(
                    {{ tuple_members('video', ['time', 'progress', 'played-segments', 'time-from', 'time-to', 'length']) }},
                    {{ tuple_members('torus', ['feedback']) }}
                )
            ),
            context Tuple(
                registration {{ text }},
                contextActivities Tuple(parent {{ text }}, grouping {{ text }}),
                extensions Tuple(
                    {{ tuple_members('video', ['length', 'session-id']) }},
                    {{ tuple_members('torus', torus_context_extensions()) }}
                )
            )
        )
    {%- endset -%}
    JSONExtract({{ line }}, '{{ type | replace('\n', ' ') }}')
{% endmacro %}

{#- Extensions as elements of a Tuple type. -#}
{% macro tuple_members(profile, names) -%}
    {%- for name in names -%}
        `{{ xapi_extension(profile, name) }}` Nullable(String){{ ', ' if not loop.last }}
    {%- endfor -%}
{%- endmacro %}

{#- A member of the parsed statement, by the names on its path. (For `statement.verb.id` ClickHouse
    would search all members for that name again for each block of lines.) -#}
{% macro member() -%}
    {%- set found = namespace(value='statement') -%}
    {%- for name in varargs -%}
        {%- set found.value = 'tupleElement(' ~ found.value ~ ", '" ~ name ~ "')" -%}
    {%- endfor -%}
    {{ found.value }}
{%- endmacro %}

{#- An extension in the context of the parsed statement, as text. -#}
{% macro context_extension(profile, name) -%}
    {{ member('context', 'extensions', xapi_extension(profile, name)) }}
{%- endmacro %}

{#- An extension in the result of the parsed statement, as text. -#}
{% macro result_extension(profile, name) -%}
    {{ member('result', 'extensions', xapi_extension(profile, name)) }}
{%- endmacro %}

{#- The context extensions of Torus that become columns. -#}
{% macro torus_context_extensions() %}
    {{ return([
        'section_id', 'project_id', 'publication_id', 'resource_id', 'page_id',
        'page_attempt_guid', 'page_attempt_number',
        'activity_attempt_guid', 'activity_attempt_number', 'activity_id', 'activity_revision_id',
        'part_attempt_guid', 'part_attempt_number', 'part_id',
        'content_element_id', 'hints_requested', 'attached_objectives', 'session_id',
    ]) }}
{% endmacro %}

{#- Text as a whole number, NULL if it is not one. -#}
{% macro whole_number(text) %}toUInt64OrNull({{ text }}){% endmacro %}

{#- Text as a finite number, NULL if it is not one ('nan' and 'inf' would parse). -#}
{% macro finite_number(text) -%}
    if(isFinite(toFloat64OrNull({{ text }})), toFloat64OrNull({{ text }}), null)
{%- endmacro %}

{#- An ISO 8601 date and time in UTC, to the microsecond (without an offset it is UTC); NULL if the
    text is not one. The pattern is checked first because best-effort parsing also accepts '2025',
    '1633046400' and 24:00, and reads month 00 as January and year 0000 as the current year.
    stg_xapi__statements rejects times outside 1970 to 2199. -#}
{% macro statement_time(text) -%}
    if(
        match({{ text }}, '^(19|2\\d)\\d{2}-(0[1-9]|1[0-2])-(0[1-9]|[12]\\d|3[01])[T ]([01]\\d|2[0-3]):[0-5]\\d(:[0-5]\\d(\\.\\d+)?)?(Z|[+-]([01]\\d|2[0-3])(:?[0-5]\\d)?)?$'),
        parseDateTime64BestEffortOrNull({{ text }}, 6, 'UTC'),
        null
    )
{%- endmacro %}

{#- The id of the first activity in a context's list, NULL if there is none. Some producers write a
    single activity without a list. -#}
{% macro first_activity_id(json) -%}
    nullIf(
        if(
            startsWith({{ json }}, '['),
            JSONExtract({{ json }}, 1, 'id', 'Nullable(String)'),
            JSONExtract({{ json }}, 'id', 'Nullable(String)')
        ),
        ''
    )
{%- endmacro %}

{#- Text as a boolean, NULL if it is neither 'true' nor 'false'. -#}
{% macro truth(text) -%}
    multiIf({{ text }} = 'true', true, {{ text }} = 'false', false, null)
{%- endmacro %}

{#- A 128-bit hash of a value, as a UUID: two unrelated 64-bit hashes, for a parsed statement ten
    times as fast as a cryptographic hash. NULL, '' and the order of members make a difference. -#}
{% macro hash_id(value) -%}
    reinterpretAsUUID(
        bitShiftLeft(toUInt128(cityHash64({{ value }})), 64) + xxHash64({{ value }})
    )
{%- endmacro %}

{#- What identifies an event: everything that the models read of it, in a form that does not depend
    on the order of members, spacing, escapes or the spelling of numbers and times. -#}
{% macro statement_content() -%}
    (
        {{ member('id') }},
        occurred_at,
        {{ member('registration') }},
        {{ member('actor') }},
        {{ member('verb') }},
        {{ member('object', 'id') }},
        object_type,
        {{ member('object', 'definition', 'subType') }},
        title,
        {{ member('object', 'definition', 'extensions') }},
        {{ member('result', 'success') }},
        {{ member('result', 'completion') }},
        {{ member('result', 'score') }},
        {{ unordered(member('result', 'response')) }},
        {% for name in ['time', 'progress', 'played-segments', 'time-from', 'time-to', 'length'] -%}
        {{ result_extension('video', name) }},
        {% endfor -%}
        {{ unordered(result_extension('torus', 'feedback')) }},
        {{ member('context', 'registration') }},
        course,
        {{ member('context', 'extensions') }}
    )
{%- endmacro %}

{#- JSON text as its members in a fixed order, for comparison; other text unchanged. (ClickHouse
    computes both branches for all rows, so the inner `if` gives the split nothing but JSON.) -#}
{% macro unordered(text) -%}
    if(
        {{ is_json_list(text) }},
        arraySort(splitByChar(
            ',', translate(if({{ is_json_list(text) }}, coalesce({{ text }}, ''), ''), '{}', ',,')
        )),
        [toString(isNull({{ text }})), coalesce({{ text }}, '')]
    )
{%- endmacro %}

{#- Condition: text is a JSON object or array (JSONExtract writes no spaces around them). -#}
{% macro is_json_list(text) -%}
    (startsWith(coalesce({{ text }}, ''), '[') or startsWith(coalesce({{ text }}, ''), '{'))
{%- endmacro %}

{#- The last part of an IRI, which people use as its name ('.../verbs/played' -> 'played'). -#}
{% macro short_name(iri) -%}
    coalesce(nullIf(regexpExtract({{ iri }}, '([^/#]*)/*$', 1), ''), {{ iri }})
{%- endmacro %}
