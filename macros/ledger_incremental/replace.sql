{#- Replacing a part of a table in one moment: a new table `elt_new__<model>__<claim>` gets the rows
    that stay and the new ones, and is exchanged with the old table. Months that lose no row are
    attached, which copies no data. (REPLACE PARTITION would avoid the new table, but killed halfway
    it leaves the old rows of a month beside the new ones.)

    The new table has an id of its own and goes on with the applied loads of the old one. Whoever
    takes over a claim drops the former holder's new table, so its late exchange fails. -#}

{% macro new_table_prefix(table) %}{{ return('elt_new__' ~ table.name ~ '__') }}{% endmacro %}

{% macro new_table_of(table) %}
    {{ return(table.relation.incorporate(path={'identifier': new_table_prefix(table) ~ table.claim})) }}
{% endmacro %}

{#- Create the new table, with a new id. Returns it: relation, id. -#}
{% macro create_new_table(table) %}
    {%- set relation, id = new_table_of(table), new_id() -%}
    {% do run_statement('drop table if exists ' ~ relation ~ cluster_clause()) %}
    {% do run_statement(
        'create table ' ~ relation ~ cluster_clause() ~ ' as ' ~ table.relation
        ~ " comment '" ~ table_comment(id) ~ "'"
    ) %}
    {{ return({'relation': relation, 'id': id}) }}
{% endmacro %}

{#- Fill a new table with the rows that stay: months without rows of the scope are attached, of the
    others the other rows are inserted.
    scope    condition on rows of the table: which of them go
    changed  values of the partition expression that rows of the scope may have -#}
{% macro keep_other_rows(table, new, scope, changed) %}
    {%- set columns = columns_of(table, table.relation) -%}
    {%- set changed = changed | map('string') | list -%}
    {% do sync_replicas(table.relation) %}
    {%- for row in run_statement("
        select distinct partition from system.parts
        where active and database = '" ~ table.relation.schema ~ "' and table = '" ~ table.relation.identifier ~ "'
        order by partition
    ").rows -%}
        {% do beat_claim(table) %}
        {%- if row[0] in changed -%}
            {%- set sql -%}
                insert into {{ new.relation }} ({{ columns }})
                select {{ columns }} from {{ table.relation }}
                where {{ table.partition_by }} = {{ row[0] }} and not ({{ scope }})
            {%- endset -%}
            {% do run_statement(sql) %}
        {%- else -%}
            {% do run_statement(
                'alter table ' ~ new.relation ~ ' attach partition ' ~ row[0] ~ ' from ' ~ table.relation
            ) %}
        {%- endif -%}
    {%- endfor -%}
{% endmacro %}

{#- Record the new table and exchange it with the old one.
    count  as in record_table -#}
{% macro put_in_place(table, new, count=true) %}
    {% do record_table(table, new.relation, new.id, count) %}
    {% do exchange(table, new) %}
    {% do table.update({'id': new.id}) %}
{% endmacro %}

{#- Exchange a new table with the old one, and drop the old one. -#}
{% macro exchange(table, new) %}
    {% do sync_replicas(new.relation) %}
    {% do beat_claim(table) %}
    {% do run_statement('exchange tables ' ~ new.relation ~ ' and ' ~ table.relation ~ cluster_clause()) %}
    {#- A client that gets no answer may send a statement again, which would exchange them back. Once one
        of the two is dropped, an exchange fails: what is in place now stays there. -#}
    {% do run_statement('drop table if exists ' ~ new.relation ~ cluster_clause()) %}
    {%- set in_place = run_statement('select id from (' ~ id_of(table.relation) ~ ')').rows -%}
    {%- if not in_place or in_place[0][0] != new.id -%}
        {{ exceptions.raise_compiler_error(
            table.relation ~ ' was not exchanged with ' ~ new.relation ~ ': the server may have received the '
            ~ 'statement twice. The table is unchanged; run the same command again'
        ) }}
    {%- endif -%}
{% endmacro %}

{#- Remove the bookkeeping of tables that a full refresh replaced. The DELETE has their ids, which
    were read under the claim: if it arrives after a takeover, the present table is not among them. -#}
{% macro forget_other_tables(table) %}
    {%- set replaced = run_statement(
        'select distinct toString(table_id) from ' ~ elt_applied_loads() ~ " where model = '" ~ table.name
        ~ "' and table_id != '" ~ table.applied_under ~ "' and (select count() >= 0 from " ~ claim_of(table) ~ ')'
    ).rows | map(attribute=0) | list -%}
    {%- if replaced -%}
        {% do run_statement(
            'delete from ' ~ elt_applied_loads() ~ " where model = '" ~ table.name ~ "'"
            ~ " and table_id in ('" ~ replaced | join("', '") ~ "')"
        ) %}
    {%- endif -%}
{% endmacro %}

{#- Insert rows that are not those of claimed slices.
    wanted  condition on the candidates
    kept    condition on those that are left when the first of each event is chosen -#}
{% macro insert_wanted(table, new, rows, wanted, kept='true') %}
    {% do beat_claim(table) %}
    {%- set columns = columns_of(table, table.relation) -%}
    {% call statement('insert_wanted') %}
        {{ run_comment() }}
        insert into {{ new.relation }} ({{ columns }})
        select {{ columns }}
        from (
            select {{ columns }}
            from ({{ rows }}) as candidates
            where {{ wanted }}
                {{ 'and not ' ~ is_voided() if table.can_be_voided }}
            {{ first_of_each(table) }}
        ) as firsts
        where ({{ kept }}) and {{ parse_is_the_same(table) }}
        settings {{ insert_settings() }}
    {% endcall %}
{% endmacro %}

{#- On a cluster: wait until each replica of a table has all its parts. -#}
{% macro sync_replicas(relation) %}
    {%- if adapter.get_clickhouse_cluster_name() -%}
        {% do run_statement('system sync replica ' ~ cluster_clause() ~ ' ' ~ relation) %}
    {%- endif -%}
{% endmacro %}

{#- Superseded rows: those of object versions that the ledger no longer shows, among the loads that
    the table holds or is about to hold, and only of keys that the claimed slices bring. A key with a
    commit that the table does not hold yet waits for it: its old rows leave with the load that
    replaces them, so that readers always see one version. -#}

{#- Objects (load_id, source_path) whose rows must leave the table because of these slices. -#}
{% macro superseded_objects(table, slices) %}
    {%- set held -%}
        load_id in ({{ applied_loads(table.name, table.applied_under) }})
        or load_id in (select load_id from {{ claim_of(table) }})
    {%- endset -%}
    select load_id, source_path
    from ({{ invisible_objects(table, slices) }})
    where ({{ held }})
        and source_path not in (
            select {{ source_path() }}
            from {{ source('xapi_raw', 'loads') }}
            where outcome = 'committed'
                and {{ of_keys(table, slices) }}
                and not ({{ held }})
        )
{% endmacro %}

{#- Objects that readers do not see, of the keys that the slices bring. -#}
{% macro invisible_objects(table, slices) %}
    select load_id, {{ source_path() }} as source_path
    from {{ source('xapi_raw', 'committed_objects') }}
    where {{ of_keys(table, slices) }} and status != 'visible'
{% endmacro %}

{#- Ids of loads that the table holds, but without the rows of an object that readers see: it was a
    repeat when the load was applied, and a commit that became visible late has superseded the version
    that it repeated. Only for a table that keeps lines: in others the events of a repeat are there. -#}
{% macro reappeared_loads(table, slices) %}
    {{ return(run_statement(
        'select distinct toString(load_id) from ' ~ source('xapi_raw', 'committed_objects')
        ~ ' where ' ~ of_keys(table, slices) ~ " and status = 'visible' and rows > 0"
        ~ ' and load_id in (' ~ applied_loads(table.name, table.applied_under) ~ ')'
        ~ ' and (load_id, ' ~ source_path() ~ ') not in (select load_id, source_path from ' ~ table.relation
        ~ ' where load_id in (select load_id from ' ~ source('xapi_raw', 'loads') ~ ' where ' ~ of_keys(table, slices) ~ '))'
    ).rows | map(attribute=0) | list) }}
{% endmacro %}

{#- How many keys that the slices bring have several commits: without one, nothing is superseded. -#}
{% macro keys_with_several_commits(table, slices) %}
    select count() from (
        select 1 from {{ source('xapi_raw', 'loads') }}
        where outcome = 'committed' and {{ of_keys(table, slices) }}
        group by bucket, key
        having count() > 1
    )
{% endmacro %}

{#- Condition on the ledger: the key is one that the slices bring. -#}
{% macro of_keys(table, slices) -%}
    {%- set keys -%}
        from {{ source('xapi_raw', 'loads') }} where load_id in ({{ claimed_loads(table, slices) }})
    {%- endset -%}
    bucket in (select bucket {{ keys }}) and key in (select key {{ keys }})
{%- endmacro %}

{#- The path of an object of the ledger, as the tables call it. -#}
{% macro source_path() -%}if(bucket = '', key, concat(bucket, '/', key)){%- endmacro %}

{#- What leaves a table because of these slices: a condition on its rows, and the partitions that have
    such rows. `restored` is a subquery of statement ids that are no longer voided, because the object
    with the voiding was superseded; none if there are no such ids. -#}
{% macro leaving_rows(table, slices) %}
    {%- set superseded = '(load_id, source_path) in (' ~ superseded_objects(table, slices) ~ ')' -%}
    {%- set conditions, restored = [], namespace(ids=none) -%}
    {%- set found = run_statement(
        'select (' ~ keys_with_several_commits(table, slices) ~ '), '
        ~ (count_of_voidings(table, slices) if table.can_be_voided else '0')
    ).rows[0] -%}
    {%- if found[0] | int
        and run_statement('select count() from (' ~ invisible_objects(table, slices) ~ ')').rows[0][0] | int -%}
        {% do conditions.append(superseded) %}
        {%- if table.can_be_voided and run_statement(
            'select count() from (' ~ superseded_voidings(table, slices) ~ ')'
        ).rows[0][0] | int -%}
            {%- set restored.ids = '(' ~ superseded_voidings(table, slices) ~ ')' -%}
        {%- endif -%}
    {%- endif -%}
    {%- if found[1] | int -%}
        {% do conditions.append(is_voided('load_id in (' ~ claimed_loads(table, slices) ~ ')')) %}
    {%- endif -%}
    {%- if not conditions -%}
        {{ return({'partitions': [], 'restored': none}) }}
    {%- endif -%}
    {%- set condition = '(' ~ conditions | join(' or ') ~ ')' -%}
    {{ return({
        'condition': condition,
        'restored': restored.ids,
        'partitions': run_statement(
            'select distinct ' ~ table.partition_by ~ ' from ' ~ table.relation ~ ' where ' ~ condition
        ).rows | map(attribute=0) | list,
    }) }}
{% endmacro %}

{#- Apply slices that remove rows of the table. An event of a superseded object that another visible
    line reports stays, with that line as its source. -#}
{% macro apply_and_remove(table, slices, leaving) %}
    {%- if table.keeps_lines -%}
        {%- for slice in slices -%}{% do insert_slices(table, table.relation, [slice]) %}{%- endfor -%}
        {%- set reappeared = reappeared_loads(table, slices) -%}
        {%- if reappeared -%}
            {% do insert_loads(
                table, table.relation,
                "select toUUID(arrayJoin(['" ~ reappeared | join("', '") ~ "'])) as load_id from (select count() from "
                ~ claim_of(table) ~ ')'
            ) %}
        {%- endif -%}
        {% do record_table(table, table.relation, table.id, count=false) %}
        {#- If it arrives after a takeover, it deletes nothing that counts: these rows are superseded. Until
            the loads are applied, no number of rows is recorded. -#}
        {% do delete_superseded(table, slices) %}
    {%- else -%}
        {%- set new = create_new_table(table) -%}
        {% do keep_other_rows(table, new, leaving.condition, leaving.partitions) %}
        {%- set lost -%}
            select {{ table.row_key }} from {{ table.relation }} where {{ leaving.condition }}
        {%- endset -%}
        {%- set wanted -%}
            (
                {{ table.row_key }} in ({{ lost }})
                {%- if leaving.restored %}
                or lower(coalesce(statement_id, '')) in {{ leaving.restored }}
                {%- endif %}
            )
            and load_id in ({{ applied_loads(table.name, table.applied_under) }})
            and not ((load_id, source_path) in ({{ superseded_objects(table, slices) }}))
            and ({{ table.row_key }}) not in (
                select {{ table.row_key }} from {{ new.relation }}
                where ({{ table.row_key }}) in ({{ lost }})
                {%- if leaving.restored %}
                    or lower(coalesce(statement_id, '')) in {{ leaving.restored }}
                {%- endif %}
            )
        {%- endset -%}
        {% do insert_wanted(table, new, table.rows, wanted) %}
        {%- for slice in slices -%}{% do insert_slices(table, new.relation, [slice]) %}{%- endfor -%}
        {% do put_in_place(table, new) %}
    {%- endif -%}
    {% do record_loads(table, table.relation, slices) %}
{% endmacro %}

{#- Delete superseded lines of a table that keeps lines. The mutation names load ids and hashes, no
    table of the run: ClickHouse would retry a mutation for ever that reads a table which is gone. -#}
{% macro delete_superseded(table, slices) %}
    {%- set objects = run_statement(
        'select load_id, cityHash64(load_id, source_path) from (' ~ superseded_objects(table, slices) ~ ')'
    ).rows -%}
    {%- for part in objects | batch(1000) -%}
        {% do beat_claim(table) %}
        {% do run_statement(
            'delete from ' ~ table.relation
            ~ " where load_id in ('" ~ part | map(attribute=0) | unique | join("', '") ~ "')"
            ~ ' and cityHash64(load_id, source_path) in (' ~ part | map(attribute=1) | join(', ') ~ ')'
        ) %}
    {%- endfor -%}
{% endmacro %}
