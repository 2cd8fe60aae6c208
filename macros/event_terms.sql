{#- What the marts read of an event table, where the column's name or form may change. -#}

{#- The learner of an event. -#}
{% macro learner_of() %}user_id{% endmacro %}

{#- The share from which a video's author counts it as completed. -#}
{% macro completion_threshold_of() %}cast(null as Nullable(Float64)){% endmacro %}

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
