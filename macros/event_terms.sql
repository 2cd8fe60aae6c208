{#- What the marts read of an event table, where the column's name or form may change. -#}

{#- The learner of an event. -#}
{% macro learner_of() %}user_id{% endmacro %}

{#- The share from which a video's author counts it as completed. -#}
{% macro completion_threshold_of() %}cast(null as Nullable(Float64)){% endmacro %}

{#- A number as a place in a video, in seconds; -1 if it is none. Without `abs` -0 and 0 would be two
    places. -#}
{% macro place_of(number) -%}
    if(ifNull({{ number }} between 0 and {{ xapi_elt.last_place() }}, false), abs(assumeNotNull({{ number }})), -1.0)
{%- endmacro %}

{#- Places beyond a day are errors, or of a live stream. -#}
{% macro last_place() %}{{ return(86400) }}{% endmacro %}
