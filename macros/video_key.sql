{#- Parameters of a video's URL that differ between two views of the same video: where to start, and
    signatures. A name that ends in * stands for all names that begin so. -#}
{% macro video_url_noise() %}
    {{ return(['t', 'start', 'X-Amz-*', 'Expires', 'Signature', 'Key-Pair-Id']) }}
{% endmacro %}

{#- The key of a video: its URL without fragment and without the parameters of video_url_noise. Other
    parameters stay in their order. -#}
{% macro video_key(url) -%}
    {%- set names = xapi_elt.video_url_noise() | join('|') | replace('*', '[^=]*') -%}
    {%- set address = 'cutFragment(' ~ url ~ ')' -%}
    if(
            position({{ address }}, '?') = 0,
            {{ address }},
            concat(
                substringIndex({{ address }}, '?', 1),
                replaceRegexpOne(
                    arrayStringConcat(
                        arrayMap(
                            parameter -> concat('&', parameter),
                            arrayFilter(
                                parameter -> not match(parameter, '^(({{ names }})(=|$)|$)'),
                                splitByChar(
                                    '&',
                                    substring({{ address }}, position({{ address }}, '?') + 1)
                                )
                            )
                        )
                    ),
                    '^&',
                    '?'
                )
            )
        )
{%- endmacro %}
