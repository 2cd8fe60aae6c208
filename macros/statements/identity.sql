{#- Which event a statement is, and who did it. A change here is a new version of the rule:
    raise identity_rule in macros/ledger_incremental/tables.sql. -#}

{#- The id of an event. It depends on nothing that models read besides.

        random id (UUID 4)   the id and the hour: an LRS may have changed anything else in its copy
        another id           producers share derived ids between statements, so also the learner,
                             the verb, the object and the millisecond
        no id                the statement's own bytes (also of what is no event)

    A repeat is in the same hour, so that it can be searched for by time. -#}
{% macro event_id() -%}
    {%- set own_bytes = "(not has_id or family in (" ~ families_without_statement() ~ "))" -%}
    {%- set content -%}
        multiIf(
            {{ own_bytes }} and is_plain, whole_line,
            {{ own_bytes }}, item_text,
            has_random_id,
            concat(
                'random ', lower(assumeNotNull({{ member('id') }})), ' ',
                toString(intDiv(coalesce(toUnixTimestamp64Milli(occurred_at), 0), 3600000))
            ),
            concat('other ', derived_key)
        )
    {%- endset -%}
    {{ hash_id(content) }}
{%- endmacro %}

{#- What tells statements apart that share a derived id, as text. -#}
{% macro derived_key() -%}
    {%- set key -%}
        toString((
            lower(assumeNotNull(id)),
            coalesce(toUnixTimestamp64Milli(occurred_at), 0),
            learner,
            verb_name,
            coalesce({{ member('object', 'id') }}, '')
        ))
    {%- endset -%}
    {{ only_where('has_id and not has_random_id', member('id'), 'id', key) }}
{%- endmacro %}

{#- Condition: the id is a random UUID (version 4). -#}
{% macro is_random(id) -%}
    match({{ id }}, '(?i)^[0-9a-f]{8}-[0-9a-f]{4}-4[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}$')
{%- endmacro %}

{#- The identity of a learner, as it is written: which kind, the home page of an account, the value. -#}
{% macro learner() -%}
    multiIf(
        {{ member('actor', 'account', 'name') }} != '',
        ('account', coalesce({{ member('actor', 'account', 'homePage') }}, ''), assumeNotNull({{ member('actor', 'account', 'name') }})),
        {{ member('actor', 'mbox') }} != '', ('mbox', '', assumeNotNull({{ member('actor', 'mbox') }})),
        {{ member('actor', 'mbox_sha1sum') }} != '', ('mbox_sha1sum', '', assumeNotNull({{ member('actor', 'mbox_sha1sum') }})),
        {{ member('actor', 'openid') }} != '', ('openid', '', assumeNotNull({{ member('actor', 'openid') }})),
        ('', '', '')
    )
{%- endmacro %}

{#- The pseudonym of a learner: a hash of the identity with the key of the raw database, which
    `xapi-elt init` makes. -#}
{% macro learner_id(learner) -%}
    lower(hex(sipHash128Keyed({{ learner_key() }}, {{ identity_parts(learner) }})))
{%- endmacro %}

{#- The parts of an identity, in the one form in which two spellings of a learner are equal. Case makes
    no difference in addresses, schemes and hosts. -#}
{% macro identity_parts(learner) -%}
    {%- set is_openid = learner ~ ".1 = 'openid'" -%}
    {%- set iri = lower_host('if(' ~ is_openid ~ ', ' ~ learner ~ '.3, ' ~ learner ~ '.2)') -%}
    {{ learner }}.1,
    if({{ is_openid }}, '', {{ iri }}),
    multiIf(
        {{ is_openid }}, {{ iri }},
        {{ learner }}.1 in ('mbox', 'mbox_sha1sum'), lowerUTF8({{ learner }}.3),
        {{ learner }}.3
    )
{%- endmacro %}

{#- What a tombstone has of a learner: a hash of the identity with a key of its own, which never
    changes. An address and its SHA-1 have one hash, because producers send either. -#}
{% macro tombstone_hash(learner) -%}
    arrayMap(
        erasable -> reinterpretAsUUID(sipHash128Keyed({{ erasure_key() }}, {{ identity_parts('erasable') }})),
        [if(
            {{ learner }}.1 = 'mbox',
            ('mbox_sha1sum', '', lower(hex(SHA1(if({{ learner }}.1 = 'mbox', lowerUTF8({{ learner }}.3), ''))))),
            {{ learner }}
        )]
    )[1]
{%- endmacro %}

{#- Condition: the statement is of an erased learner. It reads the JSON once more, but only if any
    learner was erased; if none was, the element is NULL, as a hash with a key from a subquery may be. -#}
{% macro is_of_erased_learner(json) -%}
    {%- set has_tombstone = learner_hash('json') ~ ' in (select identity_hash from '
        ~ source('xapi_raw', 'erased_learners').render() ~ ')' -%}
    coalesce({{ only_where(has_tombstones(), json, 'json', has_tombstone) }}, false)
{%- endmacro %}

{#- The hash of the learner of a statement, as tombstones have it. -#}
{% macro learner_hash(json) -%}
    arrayMap(
        statement -> arrayMap(learner -> {{ tombstone_hash('learner') }}, [{{ learner() }}])[1],
        [{{ parse_actor(json) }}]
    )[1]
{%- endmacro %}

{#- Whether any learner was erased. -#}
{% macro has_tombstones() -%}
    (select count() > 0 from {{ source('xapi_raw', 'erased_learners').render() }})
{%- endmacro %}

{#- The key of the tombstones. -#}
{% macro erasure_key() -%}{{ key_in('erasure_key') }}{%- endmacro %}

{#- The key of the pseudonyms. -#}
{% macro learner_key() -%}{{ key_in('learner_key') }}{%- endmacro %}

{#- The key in a table; should two commands have made one at once, the first counts. -#}
{% macro key_in(table) -%}
    (
        select (toUInt64(first_half), toUInt64(second_half))
        from {{ source('xapi_raw', table).render() }}
        order by created_at, first_half
        limit 1
    )
{%- endmacro %}

{#- A hash that shows whether the key is another one, but not the key. -#}
{% macro key_fingerprint() -%}hex(sipHash64Keyed({{ learner_key() }}, 'fingerprint')){%- endmacro %}

{#- An IRI with its scheme and host in lower case. -#}
{% macro lower_host(iri) -%}
    {%- set lowered = "concat(lower(extract(iri, '^[^/?#]*://[^/?#]*')), replaceRegexpOne(iri, '^[^/?#]*://[^/?#]*', ''))" -%}
    if(
        lower({{ iri }}) = {{ iri }},
        {{ iri }},
        {{ only_where('lower(' ~ iri ~ ') != ' ~ iri, iri, 'iri', lowered) }}
    )
{%- endmacro %}
