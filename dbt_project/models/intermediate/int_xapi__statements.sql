{#- Sorted by family within a load, because each event model reads one family. The index finds the
    few voidings among all loads. -#}
{{ config(
    engine = engine_name('MergeTree'),
    order_by = '(load_id, family)',
    partition_by = 'toYYYYMM(loaded_at)',
    indexes = [{'name': 'by_family', 'definition': 'family type set(20) granularity 1'}],
    row_key = 'load_id, source_path, source_line, source_item',
    key_scope = 'load_id',
    loads_from = 'ledger',
    settings = {
        'min_bytes_for_wide_part': 104857600,
        'merge_selector_base': young_parts_to_merge(),
    },
) }}

{{ stored_lines(ref('stg_xapi__statements')) }}
