{#- Every IRI that the models know. After staging, models use the short names.

    http and https make no difference: the models compare IRIs without their scheme (any_scheme and
    without_scheme in macros/statements/convert.sql).

    Models of another project, which installs this one as a package, may call xapi_verb,
    xapi_verb_prefix, xapi_type and xapi_extension. dbt looks for a helper in the project of the
    model that is rendered, so these macros name the package of theirs. -#}
{% macro xapi_iris() %}
    {{ return({
        'verb': {
            'completed': 'http://adlnet.gov/expapi/verbs/completed',
            'answered': 'http://adlnet.gov/expapi/verbs/answered',
            'voided': 'http://adlnet.gov/expapi/verbs/voided',
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
            'older_video': 'http://activitystrea.ms/schema/1.0/video',
            'activity_attempt': 'http://oli.cmu.edu/extensions/activity_attempt',
            'page_attempt': 'http://oli.cmu.edu/extensions/page_attempt',
            'part_attempt': 'http://adlnet.gov/expapi/activities/question',
            'page': 'http://oli.cmu.edu/extensions/types/page',
        },
        'extension_prefix': {
            'video': 'https://w3id.org/xapi/video/extensions/',
            'torus': 'http://oli.cmu.edu/extensions/',
            'openedx': 'https://w3id.org/xapi/openedx/extensions/',
            'cmi5': 'https://w3id.org/xapi/cmi5/context/extensions/',
            'older_video': 'http://id.tincanapi.com/extension/',
            'youtube_wrapper': 'resultExt:',
        },
        'category_prefix': {
            'interactive_video': 'http://h5p.org/libraries/H5P.InteractiveVideo',
        },
    }) }}
{% endmacro %}

{#- The IRI of a kind and name; an unknown name stops the parse, with the known ones in the error. -#}
{% macro xapi_iri(kind, name) %}
    {%- set known = xapi_elt.xapi_iris()[kind] -%}
    {%- if name not in known -%}
        {{ exceptions.raise_compiler_error(
            "unknown xAPI " ~ kind ~ " '" ~ name ~ "'; known: " ~ (known | join(', '))
        ) }}
    {%- endif -%}
    {{ return(known[name]) }}
{% endmacro %}

{#- A verb's IRI as a SQL string. -#}
{% macro xapi_verb(name) %}'{{ xapi_elt.xapi_iri('verb', name) }}'{% endmacro %}

{#- What the IRIs of a profile's verbs begin with, as a SQL string. -#}
{% macro xapi_verb_prefix(profile) %}'{{ xapi_elt.xapi_iri('verb_prefix', profile) }}'{% endmacro %}

{#- An activity type's IRI as a SQL string. -#}
{% macro xapi_type(name) %}'{{ xapi_elt.xapi_iri('activity_type', name) }}'{% endmacro %}

{#- An extension's IRI. -#}
{% macro xapi_extension(profile, name) %}{{ xapi_elt.xapi_iri('extension_prefix', profile) }}{{ name }}{% endmacro %}
