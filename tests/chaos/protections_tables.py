"""The protections of the tables (macros/ledger_incremental), each with the edit that removes it."""

from tests.chaos.protections import Mutation

MACROS = "macros/ledger_incremental"
EXPIRED = "tests/models/test_expired_loads.py"
FENCE = "tests/models/test_fence.py"
LATE = f"{FENCE}::test_what_a_former_holder_sends_late_has_no_effect"
OTHER_COLUMNS = (
    f"{FENCE}"
    "::test_a_table_that_got_other_columns_before_it_was_claimed_is_left_alone",
)  # fmt: skip
HIDDEN = "tests/models/test_hidden_rows.py"
POLICIES = "tests/models/test_policies.py"
RULES = "tests/models/test_rules.py::test_other_rules_stop_every_run_but_a_full_refresh"
LATE_COMMIT = "tests/models/test_late_commit.py::test_a_commit_that_is_seen_late_counts_once"
OLD_LINES = (
    "tests/models/test_server_target.py"
    "::test_old_lines_stay_until_those_that_replace_them_are_in_the_table",
)

# Which loads and which rows -----------------------------------------------------------------------

ROWS = (
    Mutation(
        "loads are recorded as applied after their rows",
        (
            (
                f"{MACROS}/materialization.sql",
                "                {% do insert_slices(table, table.relation, [slice]) %}\n"
                "                {% do record_loads(table, table.relation, [slice]) %}\n",
                "                {% do record_loads(table, table.relation, [slice]) %}\n"
                "                {% do insert_slices(table, table.relation, [slice]) %}\n",
            ),
        ),
        scenarios=("transform/killed",),
    ),
    Mutation(
        "only the loads that a run claimed are recorded",
        (
            (
                f"{MACROS}/applied.sql",
                "        'select load_id, committed_at, lines from ' ~ claim_of(table)\n"
                "        ~ ' where load_id in (' ~ loads ~ ')'\n",
                "        new_loads(table, true)\n",
            ),
        ),
        tests=OLD_LINES,
    ),
    Mutation(
        "a load that a table holds is not applied again",
        (
            (
                f"{MACROS}/applied.sql",
                "    where available.load_id not in (\n",
                "    where true or available.load_id not in (\n",
            ),
        ),
        tests=(f"{LATE}[insert]",),
    ),
    Mutation(
        "a load that becomes visible late is applied",
        (
            (
                f"{MACROS}/applied.sql",
                "'all': row[1] | int != table.loads_before_horizon",
                "'all': false",
            ),
        ),
        tests=(f"{LATE_COMMIT}[864000-True]",),
    ),
    Mutation(
        "a refilled table starts without applied loads",
        (
            (
                f"{MACROS}/materialization.sql",
                "    {% do table.update({'applied_under': new.id}) %}\n",
                "",
            ),
        ),
        tests=(f"{POLICIES}::test_an_overwritten_object_follows_the_policy[append-expected0]",),
    ),
    Mutation(
        "rows that the table holds are left out",
        (
            (
                f"{MACROS}/insert.sql",
                "            and ({{ table.row_key }}) not in (\n"
                "                select {{ table.row_key }}\n"
                "                from {{ relation }}\n"
                "                where {{ same_keys(table, rows, loads) }}\n"
                "            )\n",
                "",
            ),
        ),
        scenarios=("transform/killed",),
    ),
    Mutation(
        "an event that several lines of an insert report is inserted once",
        (
            (
                f"{MACROS}/insert.sql",
                "            {{ without_repeats(table, rows, loads) }}\n",
                "",
            ),
        ),
        tests=(f"{LATE_COMMIT}[1-False]",),
    ),
    Mutation(
        "superseded rows leave a table with the load that supersedes them",
        (
            (
                f"{MACROS}/materialization.sql",
                "        {%- if leaving.partitions or leaving.restored -%}\n",
                "        {%- if false -%}\n",
            ),
        ),
        tests=(f"{POLICIES}::test_an_overwritten_object_follows_the_policy[replace-expected2]",),
    ),
    Mutation(
        "superseded rows stay until the load that supersedes them is applied",
        (
            (
                f"{MACROS}/replace.sql",
                "        and source_path not in (\n"
                "            select {{ source_path() }}\n"
                "            from {{ source('xapi_raw', 'loads') }}\n"
                "            where outcome = 'committed'\n"
                "                and {{ of_keys(table, slices) }}\n"
                "                and not ({{ held }})\n"
                "        )\n",
                "",
            ),
        ),
        tests=OLD_LINES,
    ),
    Mutation(
        "an event of a superseded object stays if another line reports it",
        (
            (
                f"{MACROS}/replace.sql",
                "        {% do insert_wanted(table, new, table.rows, wanted) %}\n",
                "",
            ),
        ),
        tests=(
            f"{POLICIES}::test_an_event_that_another_object_has_too_outlives_its_replaced_source",
        ),
    ),
    Mutation(
        "a new table takes the name of the old one in one moment",
        (
            (
                f"{MACROS}/replace.sql",
                "    {% do run_statement('exchange tables ' ~ new.relation ~ ' and ' "
                "~ table.relation ~ cluster_clause()) %}\n",
                "    {% do run_statement('truncate table ' ~ table.relation) %}\n"
                "    {% do run_statement('insert into ' ~ table.relation ~ ' select * from ' "
                "~ new.relation) %}\n"
                "    {% do set_table_id(table.relation, new.id) %}\n",
            ),
        ),
        tests=(
            "tests/models/test_rebuild.py::test_a_reader_sees_all_of_a_rebuild_or_nothing_of_it",
        ),
    ),
    Mutation(
        "an exchange that arrived twice is noticed",
        (
            (
                f"{MACROS}/replace.sql",
                "    {%- if not in_place or in_place[0][0] != new.id -%}\n",
                "    {%- if false -%}\n",
            ),
        ),
        tests=(
            "tests/models/test_rebuild.py::test_a_rebuild_that_the_server_received_twice_fails",
        ),
    ),
)

# One run at a time --------------------------------------------------------------------------------

CLAIMS = (
    Mutation(
        "one run at a time changes a table",
        (
            (
                f"{MACROS}/claim.sql",
                "{%- if latest.is_free or latest.is_stale -%}",
                "{%- if true -%}",
            ),
            (f"{MACROS}/claim.sql", "{% do fence_off_former_holder(table, latest) %}", ""),
            (
                f"{MACROS}/claim.sql",
                "{%- if read_claim(table).number != table.claim -%}",
                "{%- if false -%}",
            ),
        ),
        scenarios=("transform/two at once",),
    ),
    Mutation(
        "of two runs that claim a table at once one has it",
        (
            (
                f"{MACROS}/claim.sql",
                "made.number == latest.number + 1 and made.holder == claim_holder()",
                "made.number == latest.number + 1",
            ),
        ),
        tests=(f"{FENCE}::test_of_two_runs_that_claim_a_table_at_once_one_waits",),
    ),
    Mutation(
        "a claim is not stale while a statement of its run is running",
        (
            (
                f"{MACROS}/claim.sql",
                "silent > var('lock_expires_seconds') | int\n"
                "            and not runs_a_query(holder) -%}\n",
                "silent > var('lock_expires_seconds') | int -%}\n",
            ),
        ),
        tests=(
            "tests/models/test_dbt_commands.py"
            "::test_a_run_keeps_its_lock_while_a_statement_of_it_runs",
        ),
    ),
    Mutation(
        "a takeover drops the claim of the former holder",
        (
            (
                f"{MACROS}/claim.sql",
                "    {%- for name in left if name.startswith(claim_prefix(table)) "
                "and name != claim_prefix(table) ~ table.claim -%}\n",
                "    {%- for name in [] -%}\n",
            ),
        ),
        tests=(f"{LATE}[record of loads]",),
    ),
    Mutation(
        "a takeover waits for the statements of the former holder",
        (
            (
                f"{MACROS}/claim.sql",
                "        {% do wait_for_queries(latest.holder) %}\n",
                "",
            ),
        ),
        tests=(f"{FENCE}::test_a_takeover_waits_for_what_the_former_holder_is_still_running",),
    ),
    Mutation(
        "a takeover drops the new tables of the former holder",
        (
            (
                f"{MACROS}/claim.sql",
                "    {%- for name in left if name.startswith(new_table_prefix(table)) -%}\n",
                "    {%- for name in [] -%}\n",
            ),
        ),
        tests=(f"{LATE}[exchange of a rebuild]",),
    ),
    # The next holder's claim then has the name of the former one's.
    Mutation(
        "a former holder records and releases no claim but its own",
        (
            (
                f"{MACROS}/claim.sql",
                "            {% do create_claim(table, latest.number + 1) %}\n"
                "            {%- set made = read_claim(table) -%}\n"
                "            {%- if made.number == latest.number + 1 and",
                "            {%- set number = latest.number + (0 if latest.is_stale else 1) -%}\n"
                "            {%- if latest.is_stale -%}\n"
                "                {% do run_statement('drop table ' ~ claim_of(table, number)) %}\n"
                "            {%- endif -%}\n"
                "            {% do create_claim(table, number) %}\n"
                "            {%- set made = read_claim(table) -%}\n"
                "            {%- if made.number == number and",
            ),
        ),
        tests=(f"{LATE}[record of loads]",),
    ),
    Mutation(
        "numbers of claims go on after their tables are gone",
        (
            (
                f"{MACROS}/claim.sql",
                "{{ return({'number': recorded, 'holder': '', ",
                "{{ return({'number': 0, 'holder': '', ",
            ),
        ),
        tests=(f"{FENCE}::test_the_numbers_of_claims_go_on_after_their_tables_are_gone",),
    ),
)

# What a run stops at ------------------------------------------------------------------------------

CHECKS = (
    Mutation(
        "rows of different parses do not meet in one table",
        (
            (
                f"{MACROS}/rules.sql",
                "made_by.parse != parse or made_by.identity_rule != identity_rule()",
                "made_by.identity_rule != identity_rule()",
            ),
        ),
        tests=(f"{RULES}[a member of the parse without a column]",),
    ),
    Mutation(
        "event ids of different rules do not meet in one table",
        (
            (
                f"{MACROS}/rules.sql",
                "made_by.parse != parse or made_by.identity_rule != identity_rule()",
                "made_by.parse != parse",
            ),
        ),
        tests=(f"{RULES}[another rule for event ids]",),
    ),
    Mutation(
        "a run stops if a table has other columns than its model",
        (
            (
                f"{MACROS}/materialization.sql",
                "    {%- if held | sort != yielded | sort -%}\n",
                "    {%- if false -%}\n",
            ),
        ),
        tests=(
            "tests/models/test_dbt_commands.py"
            "::test_a_table_that_lacks_a_column_of_its_model_stops_the_run",
        ),
    ),
    Mutation(
        "columns are compared again if the table was replaced before the claim",
        (
            (
                f"{MACROS}/tables.sql",
                "    {%- if table.columns and found.id != table.id -%}\n",
                "    {%- if false -%}\n",
            ),
        ),
        tests=OTHER_COLUMNS,
    ),
    Mutation(
        "dbt stops if rows are hidden from it",
        (
            (
                f"{MACROS}/tables.sql",
                "    {%- if state.hidden -%}\n",
                "    {%- if false -%}\n",
            ),
        ),
        tests=(f"{HIDDEN}::test_dbt_stops_before_it_touches_anything[xapi_raw.statements]",),
    ),
    Mutation(
        "dbt stops if a table lost rows",
        (
            (
                f"{MACROS}/tables.sql",
                "    {%- if found.visible < found.table_rows -%}\n",
                "    {%- if false -%}\n",
            ),
        ),
        tests=(f"{HIDDEN}::test_a_truncated_table_is_noticed[True]",),
    ),
    Mutation(
        "dbt looks for lost rows also if no load waits",
        (
            (
                f"{MACROS}/applied.sql",
                " or waiting.table_rows < table.table_rows) }}",
                ") }}",
            ),
        ),
        tests=(f"{HIDDEN}::test_a_truncated_table_is_noticed[False]",),
    ),
    Mutation(
        "a data test finds tables that lost rows",
        (
            (
                "dbt_project/data_tests/no_table_lost_rows.sql",
                "    where missing_rows > 0\n",
                "    where missing_rows > 1000000\n",
            ),
        ),
        tests=(f"{HIDDEN}::test_a_truncated_table_is_noticed[True]",),
    ),
    # The UUID of a table is another one after a restore.
    Mutation(
        "a ledger that was restored without the tables is noticed",
        (
            (
                f"{MACROS}/applied.sql",
                "    {%- if state.lacking -%}\n",
                "    {%- if false -%}\n",
            ),
        ),
        tests=("tests/models/test_restore.py::test_an_older_ledger_under_newer_models_is_noticed",),
    ),
    Mutation(
        "dbt refuses settings that could change what it reads",
        (
            (
                "macros/check_engine.sql",
                "        {%- if wrong -%}\n",
                "        {%- if false -%}\n",
            ),
        ),
        tests=("tests/loader/test_safety.py::test_dbt_stops_before_it_touches_anything",),
    ),
)

# What cannot be read again ------------------------------------------------------------------------

KEPT = (
    Mutation(
        "a rebuild of days keeps the rows of expired loads",
        (
            (
                f"{MACROS}/rebuild.sql",
                "else of_days(days) ~ ' and not ' ~ is_expired() -%}",
                "else of_days(days) -%}",
            ),
        ),
        tests=(f"{EXPIRED}::test_lines_that_expire_stay_in_tables",),
    ),
    Mutation(
        "a full refresh carries over the rows of expired loads",
        (
            (
                f"{MACROS}/expired.sql",
                "~ ' where ' ~ is_expired() ~ ' and (load_id, source_path) not in ('",
                "~ ' where false and ' ~ is_expired() ~ ' and (load_id, source_path) not in ('",
            ),
        ),
        tests=(f"{EXPIRED}::test_lines_that_expire_stay_in_tables",),
    ),
    Mutation(
        "a run stops if lines expire while it reads them",
        (
            (
                f"{MACROS}/expired.sql",
                "    {%- if since -%}\n",
                "    {%- if false -%}\n",
            ),
        ),
        tests=(f"{EXPIRED}::test_a_run_stops_if_lines_expire_while_it_reads_them[full refresh]",),
    ),
)

TABLES = (*ROWS, *CLAIMS, *CHECKS, *KEPT)
