{#- Every IRI the models know, once. After staging, models speak the short names. -#}
{% macro xapi_iris() %}
    {{ return({
        'verb': {
            'completed': 'http://adlnet.gov/expapi/verbs/completed',
            'experienced': 'http://adlnet.gov/expapi/verbs/experienced',
            'viewed': 'http://id.tincanapi.com/verb/viewed',
            'played': 'https://w3id.org/xapi/video/verbs/played',
            'paused': 'https://w3id.org/xapi/video/verbs/paused',
            'seeked': 'https://w3id.org/xapi/video/verbs/seeked',
        },
        'verb_prefix': {
            'video': 'https://w3id.org/xapi/video/verbs/',
        },
        'activity_type': {
            'video': 'https://w3id.org/xapi/video/activity-type/video',
            'activity_attempt': 'http://oli.cmu.edu/extensions/activity_attempt',
            'page_attempt': 'http://oli.cmu.edu/extensions/page_attempt',
            'part_attempt': 'http://adlnet.gov/expapi/activities/question',
            'page': 'http://oli.cmu.edu/extensions/types/page',
        },
        'extension_prefix': {
            'video': 'https://w3id.org/xapi/video/extensions/',
            'torus': 'http://oli.cmu.edu/extensions/',
        },
    }) }}
{% endmacro %}

{#- The IRI of that kind and name; an unknown one stops the parse and shows the known ones. -#}
{% macro xapi_iri(kind, name) %}
    {%- set known = xapi_iris()[kind] -%}
    {%- if name not in known -%}
        {{ exceptions.raise_compiler_error(
            "unknown xAPI " ~ kind ~ " '" ~ name ~ "'; known: " ~ (known | join(', '))
        ) }}
    {%- endif -%}
    {{ return(known[name]) }}
{% endmacro %}

{#- A verb's IRI as a SQL string. -#}
{% macro xapi_verb(name) %}'{{ xapi_iri('verb', name) }}'{% endmacro %}

{#- What the IRIs of a profile's verbs begin with, as a SQL string. -#}
{% macro xapi_verb_prefix(profile) %}'{{ xapi_iri('verb_prefix', profile) }}'{% endmacro %}

{#- An activity type's IRI as a SQL string. -#}
{% macro xapi_type(name) %}'{{ xapi_iri('activity_type', name) }}'{% endmacro %}

{#- An extension's IRI. -#}
{% macro xapi_extension(profile, name) %}{{ xapi_iri('extension_prefix', profile) }}{{ name }}{% endmacro %}
