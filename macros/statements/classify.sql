{#- What a statement is about: its family, its title, its course. -#}

{#- The family: the type of the object decides, the verb only where no type is named. The names are
    columns of the staging view. -#}
{% macro family_of() -%}
    {%- set completed = verb_is('completed') ~ ' or ' ~ verb_is('answered') -%}
    multiIf(
        {{ verb_is('voided') }} and {{ member('object', 'objectType') }} = 'StatementRef', 'voiding',
        is_anonymous_group, 'other',

        type_name in ({{ video_types() }}), 'video',
        ({{ completed }}) and {{ type_is('activity_attempt') }}, 'activity_attempt',
        ({{ completed }}) and {{ type_is('page_attempt') }}, 'page_attempt',
        ({{ completed }}) and {{ type_is('part_attempt') }} and has_part_attempt, 'part_attempt',
        ({{ verb_is('viewed') }} or {{ verb_is('experienced') }}) and {{ type_is('page') }}, 'page_viewed',
        type_name != '' or not is_activity, 'other',

        startsWith(verb_name, '{{ any_scheme(xapi_iri('verb_prefix', 'video')) }}'), 'video',
        ({{ completed }}) and has_part_attempt, 'part_attempt',
        ({{ completed }}) and has_activity_attempt, 'activity_attempt',
        ({{ completed }}) and has_page_attempt, 'page_attempt',
        has_video_extension or is_interactive_video, 'video',
        'other'
    )
{%- endmacro %}

{% macro verb_is(name) -%}verb_name = '{{ any_scheme(xapi_iri('verb', name)) }}'{%- endmacro %}

{% macro type_is(name) -%}type_name = '{{ any_scheme(xapi_iri('activity_type', name)) }}'{%- endmacro %}

{#- The types of videos: the known ones, and those of var video_types. -#}
{% macro video_types() -%}
    {%- set types = [xapi_iri('activity_type', 'video'), xapi_iri('activity_type', 'older_video')] + var('video_types') -%}
    {%- for type in types -%}
        {{ sql_text(any_scheme(type)) }}{{ ', ' if not loop.last }}
    {%- endfor -%}
{%- endmacro %}

{#- A text as a SQL literal. -#}
{% macro sql_text(text) -%}'{{ text | replace('\\', '\\\\') | replace("'", "\\'") }}'{%- endmacro %}

{#- Condition: the statement has an extension of the video profile. -#}
{% macro has_video_extension() -%}
    notEmpty(context_video) or notEmpty(result_video) or arrayExists(
        iri -> startsWith(iri, '{{ any_scheme(xapi_iri('extension_prefix', 'video')) }}'), mapKeys(object_other)
    )
{%- endmacro %}

{#- Condition: a category's IRI begins like this. -#}
{% macro has_category(prefix) -%}
    arrayExists(
        activity -> match(activity.id, '^https?://{{ any_scheme(prefix) | replace('.', '\\\\.') }}'), categories
    )
{%- endmacro %}

{#- The title of the object. Some producers write it as text, not as a language map; the line is
    read again for it, which only videos without a map need. -#}
{% macro title() -%}
    {%- set names = member('object', 'definition', 'name') -%}
    coalesce(
        nullIf({{ names }}['en-US'], ''),
        nullIf(
            arrayMap(
                names -> {{ title_of('names') }},
                if(coalesce({{ names }}['en-US'], '') = '' and notEmpty({{ names }}), [{{ names }}], [])
            )[1],
            ''
        ),
        nullIf({{ only_where(
            "family = 'video' and empty(" ~ names ~ ')', 'json', 'statement',
            "if(JSONType(statement, 'object', 'definition', 'name') = 'String', "
            ~ "JSONExtractString(statement, 'object', 'definition', 'name'), '')"
        ) }}, '')
    )
{%- endmacro %}

{#- A title of a language map, by the order of languages, not that of its members: en, the first other
    English one, the first. Empty titles do not count. -#}
{% macro title_of(names) -%}
    arraySort(arrayMap(
        (language, title, place) ->
            (title = '', language != 'en', not startsWith(language, 'en-'), language, place, title),
        mapKeys({{ names }}),
        arrayMap(title -> coalesce(title, ''), mapValues({{ names }})),
        arrayEnumerate(mapKeys({{ names }}))
    ))[1].6
{%- endmacro %}

{#- Activities of a context. A single one is text, because some producers write it without a list. -#}
{% macro activities_of(place) -%}
    {%- set activities = member('context', 'contextActivities', place) -%}
    {%- set single = "coalesce(variantElement(" ~ activities ~ ", 'String'), '')" -%}
    {%- set is_single = 'startsWith(' ~ single ~ ", '{')" -%}
    if(
        {{ is_single }},
        {{ only_where(is_single, single, 'single', "JSONExtract(concat('[', single, ']'), '" ~ activity_list() ~ "')") }},
        variantElement({{ activities }}, '{{ activity_list() }}')
    )
{%- endmacro %}

{#- The type of a list of activities. -#}
{% macro activity_list() -%}
    Array(Tuple(id Nullable(String), definition Tuple(type Nullable(String))))
{%- endmacro %}

{#- The course: the first activity whose type ends in 'course', else the first parent or grouping
    without a type, else ''. -#}
{% macro course_of(parents, groupings, categories) -%}
    coalesce(
        {% for activities in [parents, groupings, categories] -%}
        {{ first_activity(activities, "endsWith(type, 'course')") }},
        {% endfor %}
        {%- for activities in [parents, groupings] -%}
        {{ first_activity(activities, "coalesce(type, '') = ''") }},
        {% endfor -%}
        ''
    )
{%- endmacro %}

{#- The extension whose name says that it is a session, for producers whose sessions are not read. -#}
{% macro unread_session_key() -%}
    toLowCardinality(arrayFirst(
        iri -> position(lower(iri), 'session') > 0
            and iri not in (
                {%- for profile, name in [('openedx', 'session-id'), ('cmi5', 'sessionid')] %}
                '{{ any_scheme(xapi_extension(profile, name)) }}'{{ ',' if not loop.last }}
                {%- endfor %}
            ),
        mapKeys(context_other)
    ))
{%- endmacro %}

{#- The id of the first activity that has one and meets a condition on its type, else NULL. -#}
{% macro first_activity(activities, condition) -%}
    -- An element that is a list would be read by position.
    arrayFirst(
        (id, type) -> id != '' and not match(id, '^[\\[{]') and {{ condition }},
        {{ activities }}.id,
        {{ activities }}.definition.type
    )
{%- endmacro %}
