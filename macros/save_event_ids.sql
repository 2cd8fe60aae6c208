{#- Before an upgrade that gives events other ids: copy the present ids, with the load, object and line of
    each event, into the table saved_event_ids. After the full refresh int_xapi__statements has the new
    id of each line (docs/operate.md, "Upgrade").

    dbt run-operation save_event_ids -#}
{% macro save_event_ids() %}
    {%- set saved = target.schema ~ '.saved_event_ids' -%}
    {% do run_query("
        create table if not exists " ~ saved ~ cluster_clause() ~ "
        (
            table_name LowCardinality(String) comment 'Event table that had the event',
            load_id UUID comment 'Load of the line',
            source_path String comment 'Object of the line',
            source_line UInt64 comment 'Number of the line in its object, from 1',
            event_id UUID comment 'Id that the event had',
            saved_at DateTime64(3, 'UTC') default now64(3, 'UTC') comment 'When this row was written'
        )
        engine = " ~ engine_name('MergeTree') ~ "
        order by (load_id, source_path, source_line)
        comment 'Ids that events had before an upgrade'
    ") %}
    {%- for name in event_tables().values() -%}
        {%- set relation = load_relation(model_relation(name)) -%}
        {%- if relation is not none -%}
            {% do run_query(
                'insert into ' ~ saved ~ ' (table_name, load_id, source_path, source_line, event_id) '
                ~ "select '" ~ name ~ "', load_id, source_path, source_line, event_id from " ~ relation
            ) %}
        {%- endif -%}
    {%- endfor -%}
    {{ log(saved ~ ' has ' ~ run_query('select count() from ' ~ saved).rows[0][0] ~ ' ids', info=true) }}
{% endmacro %}
