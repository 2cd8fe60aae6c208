{#- Which statements a line holds. Almost every line is one statement, which `is_plain` finds by one
    pass of the JSON reader; only the others are split:

        a list, or values one after another        each value
        {"statements": [...]}                      what an LRS answers: each element
        {"statement": {...}}                       the statement
        {"message": "..."} or {"message": {...}}   what log shippers write: the text, read as a line

    They are cut out of the text by tokens, because JSONExtractRaw writes values in another form
    (1.0 becomes 1), and the id of an event without a statement id is a hash of its own bytes.
    `[value]` with arrayMap gives a value a name, so that it is written and computed once. -#}

{#- Condition: the line is one statement without anything around it. -#}
{% macro is_plain(line) -%}
    (
        startsWith({{ line }}, '{') and endsWith({{ line }}, '}') and isValidUTF8({{ line }})
        and JSONExtractString({{ line }}, 'verb', 'id') != ''
    )
{%- endmacro %}

{#- The statements of a line that is not plain, each as its number from 1 (0 if it is the whole line),
    its text, and its text as the engine's JSON reader takes it; none for a blank line. Values before
    a broken one are kept, and the rest of the line is the last item. A line that is longer than
    8 MiB, or is not UTF-8, is not split. The first step cuts the line into values, and three more
    open the envelopes and lists among them. -#}
{% macro items_of_line(line) -%}
    arrayMap(
        (whole, readable) -> arrayMap(
            items -> if(
                items = [readable],
                [(0, whole, readable)],
                arrayMap((number, item) -> (number, item, item), arrayEnumerate(items), items)
            ),
            [arrayFold(
                (items, step) -> arrayFlatten(arrayMap(
                    item -> arrayMap(
                        content -> arrayMap(
                            found -> multiIf(
                                content.cut = 'no', [content.text],
                                empty(found) and item != '' and not isValidJSON(item), [item],
                                found
                            ),
                            [{{ sound_pieces('content.text', "content.cut = 'at commas'") }}]
                        )[1],
                        [if(step = 0, {{ content('item', 'after values') }}, {{ content_of('item') }})]
                    )[1],
                    items
                )),
                if(length(whole) > 8388608 or not isValidUTF8(whole), [], [0, 1, 2, 3]),
                [readable]
            )]
        )[1],
        [{{ trimmed(line) }}],
        -- The engine's reader lets some bytes pass that are not UTF-8.
        [if(isValidUTF8({{ line }}), {{ repaired(trimmed(line)) }}, 'x')]
    )[1]
{%- endmacro %}

{#- CTEs that give the statements of lines, one row each: `source_item`, `item_text`, and `json`, as the
    engine's JSON reader takes it. The last one is `items`.
    lines  CTE with the column `line`

    The rows have `whole_line` instead of it, which is '' if the line has several statements: each
    would get a copy, and memory would be the product of both.

    A name that is used in the select that defines it is written out at each use, and planning slows
    down. So what builds on something else is in a step of its own. -#}
{% macro items_of(lines) -%}
split_lines as (

    select
        *,
        {{ only_where('not is_plain', 'line', 'line', items_of_line('line')) }} as items

    from (select *, {{ is_plain('line') }} as is_plain from {{ lines }})

),

items as (

    select
        * except (items, item, line),
        item.1 as source_item,
        item.2 as item_text,
        if(is_plain, whole_line, item.3) as json

    from (select *, if(length(items) > 1, '', line) as whole_line from split_lines)

    -- Left: a blank line has no item.
    left array join items as item

)
{%- endmacro %}

{#- What a line consists of, or an item of it, whose content was erased. `xapi-elt erase` writes it,
    and reads it from the model stg_xapi__learners_in_raw. -#}
{% macro erased_line() %}{"xapi_elt": "erased"}{% endmacro %}

{#- Text without white space, NUL and byte order mark around it. -#}
{% macro trimmed(text) -%}
    trim(both ' \t\n\r\v\f\0' from replaceRegexpOne({{ text }}, '^\\s*\\x{FEFF}', ''))
{%- endmacro %}

{#- What a list or an envelope holds: a text, and where it is to be cut ('no' for anything else).
    `if` computes all its branches, so the search for members gets '' instead of other items. -#}
{% macro content_of(item) -%}
    arrayMap(
        members -> multiIf(
            startsWith({{ item }}, '['), {{ content(without_brackets(item), 'at commas') }},
            startsWith(members['statements'], '['),
            {{ content(without_brackets("members['statements']"), 'at commas') }},
            startsWith(members['statement'], '{') and isValidJSON({{ item }}), {{ content("members['statement']", 'no') }},
            startsWith(members['message'], '{') and isValidJSON({{ item }}), {{ content("members['message']", 'no') }},
            startsWith(members['message'], '"') and isValidJSON({{ item }}),
            {{ content(repaired("JSONExtractString(concat('[', members['message'], ']'), 1)"), 'after values') }},
            {{ content(item, 'no') }}
        ),
        [{{ envelope_members(
            "if(startsWith(" ~ item ~ ", '{') and match(" ~ item ~ ", '\"(statements?|message)\"\\\\s*:')"
            ~ ' and not JSONHas(' ~ item ~ ", 'verb') and not JSONHas(" ~ item ~ ", 'actor'), " ~ item ~ ", '')"
        ) }}]
    )[1]
{%- endmacro %}

{% macro content(text, cut) -%}
    cast(({{ text }}, '{{ cut }}'), 'Tuple(text String, cut String)')
{%- endmacro %}

{#- The members of an object that may be an envelope: their text, by name. -#}
{% macro envelope_members(object) -%}
    arrayMap(
        members -> mapFromArrays(
            arrayMap(member -> extract(member, '^"([a-z]+)"'), members),
            arrayMap(member -> replaceRegexpOne(member, '^"[a-z]+"\\s*:\\s*', ''), members)
        ),
        [arrayFilter(
            member -> match(member, '^"(statements?|message)"\\s*:'),
            arrayMap(piece -> piece.text, {{ pieces(without_brackets(object), 'true') }})
        )]
    )[1]
{%- endmacro %}

{#- What is between the brackets of a list or an object; a broken one may have no second bracket. -#}
{% macro without_brackets(text) -%}
    substring({{ text }}, 2, length({{ text }}) - 1 - isValidJSON({{ text }}))
{%- endmacro %}

{#- The pieces of a text up to the first that is not JSON; from there on the rest is one piece. -#}
{% macro sound_pieces(text, at_commas) -%}
    arrayMap(
        cut -> arrayMap(
            broken -> if(
                broken = 0,
                cut.text,
                arrayPushBack(
                    arraySlice(cut.text, 1, toInt64(broken) - 1),
                    trim(both ' \t\n\r\v\f\0' from substring({{ text }}, cut.start[broken]))
                )
            ),
            -- The engine's reader ignores a byte order mark.
            [arrayFirstIndex(piece -> not isValidJSON(piece) or match(piece, '^\\x{FEFF}'), cut.text)]
        )[1],
        [{{ pieces(text, at_commas) }}]
    )[1]
{%- endmacro %}

{#- A text cut outside of all brackets, at commas or after each value: texts without white space
    around them, and the byte at which each starts. The tokens are cut, not the text, and `is_list` is
    an array: what a lambda takes from around it is copied for each element, and a line of a
    megabyte may have half a million pieces. -#}
{% macro pieces(text, at_commas) -%}
    arrayMap(
        pieces -> arrayFilter(
            piece -> piece.text != '',
            arrayMap(
                (piece, end, is_list) -> cast(
                    (
                        trim(both ' \t\n\r\v\f\0' from
                            if(is_list and startsWith(piece, ','), substring(piece, 2), piece)
                        ),
                        end - length(piece) + 1 + (is_list and startsWith(piece, ','))
                    ),
                    'Tuple(text String, start UInt64)'
                ),
                pieces,
                arrayCumSum(piece -> length(piece), pieces),
                arrayWithConstant(length(pieces), {{ at_commas }})
            )
        ),
        [arrayMap(
            tokens -> arrayStringConcat(tokens),
            arrayMap(
                (tokens, depths) -> if(
                    {{ at_commas }},
                    arraySplit((token, depth) -> token = ',' and depth = 0, tokens, depths),
                    arrayReverseSplit((token, depth) -> token in ('}', ']') and depth = 0, tokens, depths)
                ),
                arrayMap(
                    tokens -> (
                        tokens,
                        arrayCumSum(token -> multiIf(token in ('{', '['), 1, token in ('}', ']'), -1, 0), tokens)
                    ),
                    [extractAll({{ text }}, '(?s)"(?:[^"\\\\]|\\\\.)*"?|[{}\\[\\],]|[^"{}\\[\\],]+')]
                )
            )[1]
        )]
    )[1]
{%- endmacro %}

{#- JSON as RFC 8259 has it, in a form that the engine's reader takes: half a surrogate pair becomes
    U+FFFD, a number beyond Float64 becomes null. -#}
{% macro repaired(text) -%}
    arrayMap(
        text -> {{ replaced_if_not_json(
            "'(?s)\\\"(?:[^\\\"\\\\\\\\]|\\\\\\\\.)*\\\"?|[0-9eE.+-]+|[^\\\"0-9eE.+-]+'",
            "match(token, '^-?[0-9]') and not isFinite(toFloat64OrZero(token))", "'null'"
        ) }},
        arrayMap(
            text -> {{ replaced_if_not_json(
                "'(?s)\\\\\\\\u[dD][89abAB][[:xdigit:]]{2}\\\\\\\\u[dD][c-fC-F][[:xdigit:]]{2}|\\\\\\\\u[[:xdigit:]]{4}|\\\\\\\\.|[^\\\\\\\\]+|.'",
                "match(token, '^\\\\\\\\u[dD][89a-fA-F][[:xdigit:]]{2}$')", "'\\\\ufffd'"
            ) }},
            [{{ text }}]
        )
    )[1]
{%- endmacro %}

{#- `text` with the tokens that meet a condition replaced, unless it is JSON already. -#}
{% macro replaced_if_not_json(tokens, condition, replacement) -%}
    if(
        isValidJSON(text),
        text,
        arrayStringConcat(arrayMap(
            token -> if({{ condition }}, {{ replacement }}, token), extractAll(text, {{ tokens }})
        ))
    )
{%- endmacro %}
