{#- Text as the values of columns: numbers, seconds, booleans, times. -#}

{#- An expression that is computed only for the rows that meet a condition; for the others the default
    of its type. (`if` computes both of its branches for all rows. A lambda is computed for the
    elements of the arrays, and those of the other rows are empty.)
    text  the column that the expression reads
    name  what the expression calls it -#}
{% macro only_where(condition, text, name, expression) -%}
    arrayMap({{ name }} -> {{ expression }}, if({{ condition }}, [if({{ condition }}, {{ text }}, '')], []))[1]
{%- endmacro %}

{#- Text as a whole number, NULL if it is not one. -#}
{% macro whole_number(text) %}toUInt64OrNull({{ text }}){% endmacro %}

{#- Text as a finite number, NULL if it is not one ('nan' and 'inf' would parse). -#}
{% macro finite_number(text) -%}
    if(isFinite(toFloat64OrNull({{ text }})), toFloat64OrNull({{ text }}), null)
{%- endmacro %}

{#- Text that is not empty, else NULL. -#}
{% macro given_text(text) %}nullIf({{ text }}, ''){% endmacro %}

{#- Text as it is: for video_extension, where the empty text is a value. -#}
{% macro as_it_is(text) %}{{ text }}{% endmacro %}

{#- The speed of a player: a number, or text like '1.25x'. -#}
{% macro speed(text) -%}{{ finite_number("replaceRegexpOne(" ~ text ~ ", 'x$', '')") }}{%- endmacro %}

{#- Text as a boolean, NULL if it is neither 'true' nor 'false'. -#}
{% macro truth(text) -%}
    multiIf({{ text }} = 'true', true, {{ text }} = 'false', false, null)
{%- endmacro %}

{#- The first of several texts that is a number or a duration (PT3M15S). -#}
{% macro first_measure(texts, condition='is not null') -%}
    coalesce(
        {%- for text in texts %}
        if(toFloat64OrNull({{ text }}) {{ condition }} or startsWith({{ text }}, 'P'), {{ text }}, null)
        {{- ',' if not loop.last }}
        {%- endfor %}
    )
{%- endmacro %}

{#- The columns of the staging view that are a number or a duration, as text. -#}
{% macro measures() %}
    {{ return(['time_measure', 'length_measure', 'seek_from_measure', 'seek_to_measure', 'duration_measure']) }}
{% endmacro %}

{#- The measures that are durations, in seconds; empty where none is. Few producers write durations,
    and one expression for all measures is planned faster than one for each. -#}
{% macro durations() -%}
    arrayMap(
        duration -> {{ duration_in_seconds("coalesce(duration, '')") }},
        if(
            {%- for measure in measures() %}
            {{ 'or ' if not loop.first }}startsWith(coalesce({{ measure }}, ''), 'P')
            {%- endfor %},
            [{{ measures() | join(', ') }}],
            []
        )
    )
{%- endmacro %}

{#- A measure in seconds. -#}
{% macro seconds(measure) -%}
    coalesce({{ finite_number(measure) }}, durations[{{ measures().index(measure) + 1 }}])
{%- endmacro %}

{#- An ISO 8601 duration in seconds; NULL if the text is not one, or has years or months, which have
    no fixed length. Only the last component may have a fraction. -#}
{% macro duration_in_seconds(text) -%}
    arrayMap(
        parts -> if(
            empty(parts) or arrayStringConcat(parts) = '' or parts[1] > '0' or parts[2] > '0'
            or endsWith({{ text }}, 'T') or match({{ text }}, '[.,][0-9]+[A-Z].'),
            null,
            {%- for factor in [604800, 86400, 3600, 60, 1] %}
            toFloat64OrZero(replaceOne(parts[{{ loop.index + 2 }}], ',', '.')) * {{ factor }}
            {{- ' +' if not loop.last }}
            {%- endfor %}
        ),
        [extractGroups(
            {{ text }},
            '^P(?:0*(\\d+)Y)?(?:0*(\\d+)M)?(?:(\\d+(?:[.,]\\d+)?)W)?(?:(\\d+(?:[.,]\\d+)?)D)?(?:T(?:(\\d+(?:[.,]\\d+)?)H)?(?:(\\d+(?:[.,]\\d+)?)M)?(?:(\\d+(?:[.,]\\d+)?)S)?)?$'
        )]
    )[1]
{%- endmacro %}

{#- A date and time of ISO 8601 in UTC, cut to the millisecond (without an offset it is UTC); NULL
    if the text is not one. Most texts have the form that the engine's parser takes; the others
    are brought into it: basic form, hours without minutes, a comma before the fraction, more
    than nine digits after it, lower case, and second 60, which is the last millisecond of its
    minute. The parser does not know all years: those outside 1970 to 2199 are replaced by 1904,
    which is an implausible time as well. The patterns are checked first because the parser also
    accepts '2025', '1633046400' and 24:00, and reads month 00 as January. -#}
{% macro statement_time(text) -%}
    {%- set is_usual -%}
        match({{ text }}, '^(19[7-9]|20\\d|21\\d)\\d-(0[1-9]|1[0-2])-(0[1-9]|[12]\\d|3[01])[T ]([01]\\d|2[0-3]):[0-5]\\d:[0-5]\\d(\\.\\d{1,9})?(Z|[+-]([01]\\d|2[0-3]):[0-5]\\d)?$')
    {%- endset -%}
    {%- set usual_form -%}
        arrayMap(
            part -> if(
                empty(part) or part[2] != part[4] or (part[10] != '' and part[7] != part[9]), '',
                concat(
                    if(part[1] between '1970' and '2199', part[1], '1904'), '-', part[3], '-', part[5], 'T', part[6], ':', if(part[8] = '', '00', part[8]), ':',
                    multiIf(part[10] = '', '00', part[10] = '60', '59.999', concat(part[10], '.', substring(part[11], 1, 9), '0')),
                    multiIf(
                        part[12] in ('', 'Z', 'z'), 'Z',
                        length(part[12]) = 3, concat(part[12], ':00'),
                        part[12]
                    )
                )
            ),
            [extractGroups(
                other,
                '^(\\d{4})(-?)(0[1-9]|1[0-2])(-?)(0[1-9]|[12]\\d|3[01])[Tt ]([01]\\d|2[0-3])(?:(:?)([0-5]\\d)(?:(:?)([0-5]\\d|60)(?:[.,](\\d+))?)?)?(Z|z|[+-](?:[01]\\d|2[0-3])(?::?[0-5]\\d)?)?$'
            )]
        )[1]
    {%- endset -%}
    parseDateTime64BestEffortOrNull(
        if(
            {{ is_usual }},
            {{ text }},
            {{ only_where('not coalesce(' ~ is_usual ~ ', false)', 'coalesce(' ~ text ~ ", '')", 'other', usual_form) }}
        ),
        3, 'UTC'
    )
{%- endmacro %}

{#- The last part of an IRI, which people use as its name ('.../verbs/played' -> 'played'). -#}
{% macro short_name(iri) -%}
    replaceRegexpOne({{ iri }}, '(?s)^(?:.*[/#])?([^/#]+)/*$', '\\1')
{%- endmacro %}

{#- An IRI without http:// or https://, between which the models make no difference. -#}
{% macro without_scheme(iri) -%}
    substring({{ iri }}, multiIf(startsWith({{ iri }}, 'https://'), 9, startsWith({{ iri }}, 'http://'), 8, 1))
{%- endmacro %}

{#- The same of an IRI that is known here. -#}
{% macro any_scheme(iri) %}{{ return(iri | replace('https://', '') | replace('http://', '')) }}{% endmacro %}

{#- A 128-bit hash of a value, as a UUID: two unrelated 64-bit hashes, for a parsed statement ten
    times as fast as a cryptographic hash. -#}
{% macro hash_id(value) -%}
    reinterpretAsUUID(
        bitShiftLeft(toUInt128(cityHash64({{ value }})), 64) + xxHash64({{ value }})
    )
{%- endmacro %}
