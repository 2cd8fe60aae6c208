{#- Verbs that change what a player plays, in the order in which a player means events of one
    moment; 0 is any other verb. -#}
{% macro player_verbs() %}
    {{ return(['completed', 'paused', 'terminated', 'seeked', 'initialized', 'played', 'interacted']) }}
{% endmacro %}

{#- The number of a verb in that order. -#}
{% macro player_verb(name) -%}
    {{ xapi_elt.player_verbs().index(name) + 1 }}
{%- endmacro %}

{#- The values that come one place earlier in an array; the first one is given. -#}
{% macro shifted(values, first) -%}
    arrayPopBack(arrayPushFront({{ values }}, {{ first }}))
{%- endmacro %}

{#- The values that come one place later in an array; the last one is given. -#}
{% macro next_of(values, last) -%}
    arrayPopFront(arrayPushBack({{ values }}, {{ last }}))
{%- endmacro %}

{#- Where intervals, tuples that begin with from and to, begin (+1) and end (-1), in order. -#}
{% macro borders_of(intervals) -%}
    arraySort(
        arrayConcat(
            arrayMap(part -> (part.1, 1), {{ intervals }}),
            arrayMap(part -> (part.2, -1), {{ intervals }})
        )
    )
{%- endmacro %}

{#- Seconds that at least one interval covers, of which the borders are given. -#}
{% macro covered_seconds(borders) -%}
    arraySum(
        arrayMap(
            (border, next, depth) -> if(depth > 0, next.1 - border.1, 0),
            {{ borders }},
            {{ xapi_elt.next_of(borders, '(0.0, 0)') }},
            arrayCumSum(border -> border.2, {{ borders }})
        )
    )
{%- endmacro %}

{#- Reported segments as tuples (from, to). Each text is one segment, two places with [.] between; any
    other text is none. -#}
{% macro segments_of(texts) -%}
    arrayMap(
        segment -> (abs(segment.1), segment.2),
        arrayFilter(
            segment -> segment.1 >= 0 and segment.1 < segment.2 and segment.2 <= {{ xapi_elt.last_place() }},
            arrayMap(
                ends -> (
                    toFloat64OrDefault(trimBoth(ends[1]), -1.0),
                    toFloat64OrDefault(trimBoth(ends[2]), -1.0)
                ),
                arrayFilter(
                    ends -> length(ends) = 2,
                    arrayMap(text -> splitByString('[.]', text), {{ texts }})
                )
            )
        )
    )
{%- endmacro %}

{#- The types of the columns with what was played, in all and by day. -#}
{% macro pieces_type() %}Array(Tuple(`from` Float64, `to` Float64, views UInt64)){% endmacro %}

{% macro days_type() %}Array(Tuple(day Date, events UInt64, plays UInt64, completions UInt64, seconds Float64)){% endmacro %}

{#- Config `contract` of models with columns of named tuples: releases of ClickHouse spell their types
    differently (with and without quotes), and a contract compares texts. -#}
{% macro named_tuples_have_no_contract() %}{{ return({'enforced': false}) }}{% endmacro %}
