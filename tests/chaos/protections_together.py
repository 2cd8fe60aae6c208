"""Protections where two runs, two releases or an erasure work on one table, and of what is lost."""

from tests.chaos.protections import Mutation

MACROS = "macros/ledger_incremental"

LATE = "tests/models/test_late_statements.py"
BOOKKEEPING = "tests/models/test_bookkeeping.py"
REPLACED = "tests/models/test_rules.py::test_a_run_stops_if_the_parse_is_replaced_while_it_works"
REFILLED = (
    f"{LATE}::test_a_table_is_left_alone_if_the_store_is_filled_again_while_a_run_reads_it[full]"
)
RENAMED = "tests/models/test_kept_views.py::test_a_renamed_database_reads_no_view_of_its_old_name"

TOGETHER = (
    Mutation(
        "each statement that inserts rows compares the parse",
        (
            (
                f"{MACROS}/rules.sql",
                "            != '{{ table.parse }}',\n",
                "            = '{{ table.parse }} or nothing',\n",
            ),
        ),
        tests=(f"{REPLACED}[insert into `xapi`.`int_xapi__statements`]",),
    ),
    Mutation(
        "an event table is not recorded if the store was filled again meanwhile",
        (
            (
                f"{MACROS}/tables.sql",
                "                ) != '{{ table.upstream.applied_under }}',\n",
                "                ) = 'nothing',\n",
            ),
        ),
        tests=(REFILLED,),
    ),
    Mutation(
        "the bookkeeping of replaced tables is removed by name",
        (
            (
                f"{MACROS}/replace.sql",
                '            ~ " and table_id in (\'" ~ replaced | join("\', \'") ~ "\')"\n',
                '            ~ " and table_id != \'" ~ table.applied_under ~ "\'"\n',
            ),
        ),
        tests=(
            f"{LATE}::test_the_bookkeeping_of_a_table_outlives_a_late_delete_of_that_before_it",
        ),
    ),
    Mutation(
        "lost bookkeeping is written again",
        (
            (
                f"{MACROS}/applied.sql",
                "select {{ table.loads_before_horizon }} > 0 and count() = 0\n",
                "select false and count() = 0\n",
            ),
        ),
        tests=(f"{BOOKKEEPING}::test_bookkeeping_that_is_lost_is_written_again",),
    ),
    Mutation(
        "a repeat that becomes visible late is read",
        (
            (
                f"{MACROS}/replace.sql",
                "        {%- if reappeared -%}\n",
                "        {%- if false -%}\n",
            ),
        ),
        tests=(f"{BOOKKEEPING}::test_a_repeat_that_becomes_visible_late_is_read",),
    ),
    Mutation(
        "a table that is filled from all loads reads the stored lines",
        (
            (
                f"{MACROS}/rebuild.sql",
                "\n        and not is_filled_again(load_cached_relation(this)) -%}",
                " -%}",
            ),
        ),
        tests=(
            f"{BOOKKEEPING}"
            "::test_a_table_that_is_filled_keeps_events_of_expired_loads_although_days_are_named",
        ),
    ),
    Mutation(
        "a view that was made under another name of the database is not read",
        (
            (
                "macros/kept_view.sql",
                "            position(comment, '{{ made_in_this_database() }}') > 0,\n",
                "            true,\n",
            ),
        ),
        tests=(RENAMED,),
    ),
    Mutation(
        "an erasure records that loads are to be compared before rows leave",
        (
            (
                "loader/privacy/tables.py",
                "            if claim.compare_all or self._count(table, condition):\n"
                "                self._claims.record(claim, count=False)\n",
                "",
            ),
        ),
        tests=(
            "tests/models/test_erase.py"
            "::test_a_killed_erasure_has_recorded_that_all_loads_are_to_be_compared",
        ),
    ),
)
