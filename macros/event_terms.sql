{#- Terms that the marts share. -#}

{#- A number as a place in a video, in seconds; -1 if it is none. Without `abs` -0 and 0 would be two
    places. -#}
{% macro place_of(number) -%}
    if(coalesce({{ number }} between 0 and {{ xapi_elt.last_place() }}, false), abs(assumeNotNull({{ number }})), -1.0)
{%- endmacro %}

{#- Places beyond a day are errors, or of a live stream. -#}
{% macro last_place() %}{{ return(86400) }}{% endmacro %}

{#- How often each value occurs in a group, NULL aside: two arrays, values and counts.
    condition  which values count -#}
{% macro frequencies(value, condition='true') -%}
    sumMapIf(
            [assumeNotNull({{ value }})],
            [toUInt64(1)],
            isNotNull({{ value }}) and coalesce({{ condition }}, false)
        )
{%- endmacro %}

{#- The value that occurs most often, NULL if there is none; of equally frequent ones the first by
    weight.
    weight  expression of a `value` -#}
{% macro most_frequent(frequencies, weight) -%}
    if(
            empty({{ frequencies }}.1),
            null,
            arrayReverseSort(
                (value, frequency) -> (frequency, {{ weight }}, value),
                {{ frequencies }}.1,
                {{ frequencies }}.2
            )[1]
        )
{%- endmacro %}

{#- Whether an attempt is correct: it scored all points; without points, what the platform says. -#}
{% macro is_correct(score, out_of, success) -%}
    toBool(coalesce(if({{ out_of }} > 0 and isNotNull({{ score }}), {{ score }} >= {{ out_of }}, {{ success }}), 0))
{%- endmacro %}

{#- The share of the points that an attempt scored, NULL if it is not known. -#}
{% macro share_of_points(score, out_of, scaled_score) -%}
    if(coalesce({{ out_of }} > 0, false) and isNotNull({{ score }}), {{ score }} / {{ out_of }}, {{ scaled_score }})
{%- endmacro %}

{#- An answer as a key: a long one is replaced by its hash. -#}
{% macro response_key(response) -%}
    if(
            lengthUTF8(coalesce({{ response }}, '')) < 200,
            coalesce({{ response }}, ''),
            lower(hex(sipHash128(coalesce({{ response }}, ''))))
        )
{%- endmacro %}

{#- The day on which figures like "days since" are based: var as_of, or today. -#}
{% macro as_of() -%}
    {%- set day = var('as_of') -%}
    {%- if day is none -%}
        toDate(now('UTC'))
    {%- elif modules.re.fullmatch('\\d{4}-\\d{2}-\\d{2}', day | string) -%}
        toDate('{{ day }}')
    {%- else -%}
        {{ exceptions.raise_compiler_error("var as_of: '" ~ day ~ "' is no date; give a UTC day as YYYY-MM-DD") }}
    {%- endif -%}
{%- endmacro %}

{#- Var time_zone as a SQL string. -#}
{% macro time_zone() -%}
    {%- set name = var('time_zone') -%}
    {%- if not modules.re.fullmatch('[A-Za-z0-9_+/-]+', name) -%}
        {{ exceptions.raise_compiler_error("var time_zone: '" ~ name ~ "' is no time zone; give one like Europe/Paris") }}
    {%- endif -%}
    '{{ name }}'
{%- endmacro %}
