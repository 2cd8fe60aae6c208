{#- Parse a statement: one JSONExtract reads everything that the models need (five times as fast as
    one call for each field). It reads every scalar as text, and the models convert the text: an id
    may be a number or a string, and a boolean or 12.5 must not count as a whole number. A member
    that is missing or null, or whose parent is not an object, is NULL. -#}
{% macro parse_statement(json) %}
    {%- set text, extensions = 'Nullable(String)', 'Map(String, Nullable(String))' -%}
    {%- set activities = 'Variant(' ~ activity_list() ~ ', String)' -%}
    {%- set type -%}
        Tuple(
            id {{ text }},
            timestamp {{ text }},
            stored {{ text }},
            registration {{ text }},
            {{ actor_type() }},
            verb Tuple(id {{ text }}),
            object Tuple(
                id {{ text }},
                objectType {{ text }},
                definition Tuple(
                    type {{ text }},
                    subType {{ text }},
                    name Map(String, {{ text }}),
                    extensions {{ extensions }}
                )
            ),
            result Tuple(
                success {{ text }},
                completion {{ text }},
                duration {{ text }},
                response {{ text }},
                score Tuple(raw {{ text }}, max {{ text }}, scaled {{ text }}),
                extensions {{ extensions }}
            ),
            context Tuple(
                registration {{ text }},
                contextActivities Tuple(
                    parent {{ activities }}, grouping {{ activities }}, category {{ activities }}
                ),
                extensions {{ extensions }}
            )
        )
    {%- endset -%}
    JSONExtract({{ json }}, '{{ type | replace('\n', ' ') }}')
{% endmacro %}

{#- The same of the actor alone, which takes a third of the time. -#}
{% macro parse_actor(json) -%}
    JSONExtract({{ json }}, 'Tuple({{ actor_type() | replace('\n', ' ') }})')
{%- endmacro %}

{#- The actor among the members, as a part of a tuple's type. -#}
{% macro actor_type() -%}
    {%- set text = 'Nullable(String)' -%}
    actor Tuple(
        mbox {{ text }},
        mbox_sha1sum {{ text }},
        openid {{ text }},
        account Tuple(name {{ text }}, homePage {{ text }}),
        member {{ text }}
    )
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

{#- Extensions are split into maps, because a search in a map reads all keys in front of the one it
    looks for. The maps have the IRIs without http:// or https://, because producers write both. -#}
{% macro own_map_of() %}{{ return({'context': ['torus', 'video'], 'result': ['video'], 'object': []}) }}{% endmacro %}

{#- All extensions of a place: context, result or object. -#}
{% macro all_extensions_of(place) -%}
    {%- set extensions = member('object', 'definition', 'extensions') if place == 'object' else member(place, 'extensions') -%}
    mapApply((iri, value) -> ({{ without_scheme('iri') }}, value), {{ extensions }})
{%- endmacro %}

{#- The extensions of a place that are of one profile. -#}
{% macro extensions_of(place, profile) -%}
    mapFilter((iri, value) -> {{ is_of_profile('iri', profile) }}, {{ place }}_extensions)
{%- endmacro %}

{#- The extensions of a place that have no map of their own. -#}
{% macro other_extensions_of(place) -%}
    mapFilter(
        (iri, value) -> not (
            {%- for profile in own_map_of()[place] %}
            {{ 'or ' if not loop.first }}{{ is_of_profile('iri', profile) }}
            {%- endfor %}
        ),
        {{ place }}_extensions
    )
{%- endmacro %}

{% macro is_of_profile(iri, profile) -%}
    startsWith({{ iri }}, '{{ any_scheme(xapi_iri('extension_prefix', profile)) }}')
{%- endmacro %}

{#- An extension, as text; NULL if it is missing or null.
    place    context, result or object
    profile  key of extension_prefix in xapi_iris -#}
{% macro extension(place, profile, name) -%}
    {%- set map = profile if profile in own_map_of()[place] else 'other' -%}
    {{ place }}_{{ map }}['{{ any_scheme(xapi_extension(profile, name)) }}']
{%- endmacro %}

{#- An extension in the context, as text; NULL also if it is empty. -#}
{% macro context_text(profile, name) -%}nullIf({{ extension('context', profile, name) }}, ''){%- endmacro %}

{#- A whole number among the extensions in the context. -#}
{% macro context_number(profile, name) -%}{{ whole_number(extension('context', profile, name)) }}{%- endmacro %}

{#- The first extension of a video that gives a value: in the context, else in the result.
    convert  macro of the conversion from text -#}
{% macro video_extension(name, convert, places=['context', 'result']) -%}
    coalesce(
        {%- for place in places %}
        {{ convert(extension(place, 'video', name)) }}{{ ',' if not loop.last }}
        {%- endfor %}
    )
{%- endmacro %}
