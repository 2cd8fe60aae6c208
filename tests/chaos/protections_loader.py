"""The protections of the loader, each with the edit that removes it."""

from tests.chaos.protections import Mutation

HIDDEN = "tests/models/test_hidden_rows.py"
VERSIONS = "tests/loader/test_versions.py"
EVERY_ORDER = (
    f"{VERSIONS}::test_every_order_of_policies_shows_what_the_table_says[append]",
)  # fmt: skip

LOADER = (
    Mutation(
        "commit row last",
        (
            (
                "loader/load.py",
                "            self._source.insert(batch, load_id, compression)\n"
                "            outcomes = self._verify(batch, load_id, compression)\n",
                "            outcomes = [\n"
                "                Outcome(item, 'committed', rows=self._source.count_lines(item))\n"
                "                for item in batch\n"
                "            ]\n"
                "            self.record(outcomes, load_id, started)\n"
                "            self._source.insert(batch, load_id, compression)\n"
                "            self._verify(batch, load_id, compression)\n",
            ),
            (
                "loader/load.py",
                "            outcomes = [_failed(item, error) for item in batch]\n"
                "        self.record(outcomes, load_id, started)\n",
                "            outcomes = [_failed(item, error) for item in batch]\n",
            ),
        ),
        scenarios=("backfill/killed", "commit/killed", "load/killed inside a large INSERT"),
    ),
    Mutation(
        "each attempt has a load id of its own",
        (
            (
                "loader/load.py",
                "        load_id, started = self._new_id(), self._clock()\n"
                "        try:\n"
                "            self._source.insert(",
                "        digest = __import__('hashlib').md5(batch[0].path.encode()).hexdigest()\n"
                "        load_id, started = UUID(digest), self._clock()\n"
                "        try:\n"
                "            self._source.insert(",
            ),
        ),
        tests=(
            "tests/loader/test_trigger_faults.py"
            "::test_a_fault_anywhere_acknowledges_nothing_and_loses_nothing"
            "[the look at what was inserted-refuse]",
        ),
    ),
    Mutation(
        "lines of each object are verified after the insert",
        (
            (
                "loader/verify.py",
                'if row["versions"] != 1 or not row["lines"] == row["last_line"] == row["places"]:',
                "if False:",
            ),
            # ClickHouse 26.9 itself sees that an object was replaced, older ones do not; a body
            # that comes short only this sees.
            (
                "loader/verify.py",
                'if is_plain and row["bytes"] - row["size"] not in (0, 1):',
                "if False:  # not looked at",
            ),
        ),
        scenarios=(
            "S3/replaced between HEAD and GET",
            "S3/large object replaced between ranges",
            "S3/shorter body, same ETag",
        ),
    ),
    Mutation(
        "objects without lines are looked for",
        (
            (
                "loader/load.py",
                "            if item.path not in present:\n"
                "                outcomes.append(_missing(item))\n"
                "                continue\n"
                "            item = present[item.path]\n",
                "            item = present.get(item.path, replace(item, size=0))\n",
            ),
        ),
        scenarios=("S3/deleted between HEAD and GET", "S3/access denied"),
    ),
    Mutation(
        "of two commits of a version the first counts",
        (
            (
                "loader/clickhouse/sql/committed_objects.sql",
                "place > min(place) over (partition by bucket, key, etag, is_superseded) "
                "as is_repeated",
                "0 as is_repeated",
            ),
        ),
        scenarios=("load/two at once",),
    ),
    Mutation(
        "a commit whose insert arrived twice counts once",
        (
            (
                "loader/clickhouse/sql/committed_objects.sql",
                "        or loads.committed_at = resolved.first_at)",
                "        or true)",
            ),
        ),
        tests=(f"{VERSIONS}::test_a_commit_whose_insert_arrived_twice_counts_once",),
    ),
    Mutation(
        "the later commit wins, whatever the clocks say",
        (
            (
                "loader/ledger.py",
                "if(object.6 = 'committed', earlier.commits + 1, 0)",
                "0",
            ),
        ),
        tests=(f"{VERSIONS}::test_the_later_commit_wins_although_the_clock_was_set_back",),
    ),
    Mutation(
        "a load with policy replace supersedes the versions before it",
        (
            (
                "loader/clickhouse/sql/committed_objects.sql",
                "any(commits.policy) in ('replace', 'force') as is_replacing",
                "0 as is_replacing",
            ),
        ),
        tests=(f"{VERSIONS}::test_two_versions_restored_through_s3_versions_count_as_they_come",),
    ),
    Mutation(
        "a forced load supersedes the load of the same version",
        (
            (
                "loader/clickhouse/sql/committed_objects.sql",
                "any(commits.forced) or any(commits.policy) = 'force' as is_forced",
                "0 as is_forced",
            ),
        ),
        tests=(f"{VERSIONS}::test_a_version_forced_over_two_replaces_only_itself",),
    ),
    Mutation(
        "a forced load leaves other versions visible",
        (
            (
                "loader/clickhouse/sql/committed_objects.sql",
                "place < maxIf(place, is_forced) over (partition by bucket, key, etag)",
                "place < maxIf(place, is_forced) over (partition by bucket, key)",
            ),
        ),
        tests=(f"{VERSIONS}::test_a_version_forced_over_two_replaces_only_itself",),
    ),
    Mutation(
        "only a visible version is skipped",
        (
            (
                "loader/ledger.py",
                "where bucket = {{bucket:String}} and key in {{keys:Array(String)}} "
                "and status = 'visible'\n",
                "where bucket = {{bucket:String}} and key in {{keys:Array(String)}}\n",
            ),
        ),
        tests=EVERY_ORDER,
    ),
    Mutation(
        "policy replace loads one of several visible versions again",
        (
            (
                "loader/ledger.py",
                'is_settled = not force and (policy != "replace" or len(visible) == 1)',
                "is_settled = not force",
            ),
        ),
        tests=EVERY_ORDER,
    ),
    Mutation(
        "with policy ignore the first version stays",
        (
            (
                "loader/ledger.py",
                'return "ignored" if visible and policy == "ignore" else ""',
                'return ""',
            ),
        ),
        tests=("tests/loader/test_load.py::test_with_policy_ignore_the_first_version_stays",),
    ),
    Mutation(
        "reconcile compares S3 with the visible versions",
        (
            (
                "loader/ledger.py",
                "    and key <= {last:String}\n    and status = 'visible'\n",
                "    and key <= {last:String}\n",
            ),
        ),
        tests=(
            "tests/loader/test_backfill_load.py"
            "::test_with_policy_replace_an_older_version_that_comes_back_is_new",
        ),
    ),
    Mutation(
        "reconcile --load-missing loads what lost its lines",
        (
            (
                "loader/cli/bulk.py",
                "for plan in (found.to_load, found.to_reload) if plan.count",
                "for plan in (found.to_load,) if plan.count",
            ),
        ),
        tests=(
            "tests/loader/test_reconcile.py::test_lines_that_are_gone_or_too_many_are_found_and_loaded_again",
        ),
    ),
    Mutation(
        "an insert that got no answer is recorded as unknown",
        (
            (
                "loader/load.py",
                'outcomes = [replace(_failed(item, error), outcome="unknown") for item in batch]',
                "outcomes = [_failed(item, error) for item in batch]",
            ),
        ),
        tests=(
            "tests/loader/test_trigger_faults.py"
            "::test_an_insert_that_outlasts_the_time_is_unknown_in_the_ledger",
        ),
    ),
    Mutation(
        "a message is acknowledged after its objects are committed",
        (
            (
                "loader/events/worker.py",
                "        failed = set(receipts)\n        try:\n",
                "        failed = set(receipts)\n"
                "        self._queue.delete(receipts.values())\n"
                "        try:\n",
            ),
        ),
        tests=(
            "tests/loader/test_worker.py"
            "::test_only_what_failed_comes_again_and_ends_in_the_dead_letter_queue",
        ),
    ),
    Mutation(
        "a message whose objects were not attempted comes again",
        (
            (
                "loader/events/verdicts.py",
                'found.reasons.append(f"{item.uri} was not loaded: {why}")',
                "pass",
            ),
        ),
        tests=("tests/loader/test_trigger_faults.py::test_a_fault_of_ours_acknowledges_nothing",),
    ),
    Mutation(
        "gc keeps what is young",
        (
            (
                "loader/gc.py",
                "having max(loaded_at) < now64(3, 'UTC') - toIntervalSecond({age:UInt64})\n",
                "having {age:UInt64} >= 0\n",
            ),
        ),
        scenarios=("gc/load and dbt in flight",),
    ),
    Mutation(
        "gc refuses an age at which a load may be running",
        (
            (
                "loader/gc.py",
                "    if age < SAFE_AGE and not (even_running or dry_run):\n",
                "    if False:\n",
            ),
        ),
        tests=(
            "tests/loader/test_gc.py"
            "::test_an_age_at_which_a_load_may_be_running_needs_a_second_flag",
        ),
    ),
    Mutation(
        "an attempt whose lines gc may have removed does not commit",
        (
            (
                "loader/load.py",
                "        if hours > LONGEST_ATTEMPT / 3600:\n",
                "        if False:\n",
            ),
        ),
        tests=("tests/loader/test_gc.py::test_a_load_whose_lines_gc_removed_does_not_commit",),
    ),
    Mutation(
        "the loader stops if rows of the ledger are hidden from it",
        (
            (
                "loader/clickhouse/safety.py",
                "    if visible < (stored or 0):\n",
                "    if False:\n",
            ),
        ),
        tests=(f"{HIDDEN}::test_gc_and_a_load_stop_when_the_ledger_is_hidden",),
    ),
    Mutation(
        "an engine whose settings could change what is read is refused",
        (
            (
                "loader/clickhouse/safety.py",
                "    if problems := list(unsafe(rows, settings)):\n",
                "    if problems := []:\n",
            ),
        ),
        tests=(
            "tests/loader/test_safety.py"
            "::test_each_unsafe_setting_that_cannot_be_changed_is_refused_by_name[others]",
        ),
    ),
    Mutation(
        "each statement of the loader sends the accepted settings",
        (
            (
                "loader/clickhouse/safety.py",
                "    warehouse.apply_settings(settings_to_send(rows))\n",
                "    warehouse.apply_settings({})\n",
            ),
        ),
        tests=(
            "tests/loader/test_safety.py::test_a_profile_that_hides_rows_does_not_change_a_load",
        ),
    ),
    Mutation(
        "an embedded database that another process has open is waited for",
        (
            (
                "loader/clickhouse/embedded.py",
                "        if pid is not None and waited >= seconds:\n",
                "        if pid is not None:\n",
            ),
        ),
        tests=("tests/unit/test_open_when_free.py::test_it_waits_until_the_other_has_closed_it",),
    ),
    Mutation(
        "an opening that failed without a text is tried again",
        (
            (
                "loader/clickhouse/embedded.py",
                "                if failures == _LOST_RACES:\n                    raise\n",
                "                raise\n",
            ),
        ),
        tests=(
            "tests/unit/test_open_when_free.py::test_an_opening_that_lost_a_race_is_tried_again",
        ),
    ),
    Mutation(
        "who waits for another process says for which",
        (
            (
                "loader/clickhouse/embedded.py",
                "            on_wait(f\"waiting for {path}: process {pid or 'unknown'} "
                'has it open")\n',
                "            pass\n",
            ),
        ),
        tests=("tests/unit/test_open_when_free.py::test_it_waits_until_the_other_has_closed_it",),
    ),
    Mutation(
        "loads are recorded as expired before their lines go",
        (
            (
                "loader/expire.py",
                "    warehouse.command(RECORD, first_kept=_number(expiry.before))\n"
                "    for one in expiry.months:\n"
                "        warehouse.command(DROP, month=_number(one.month))\n"
                "        yield one\n",
                "    for one in expiry.months:\n"
                "        warehouse.command(DROP, month=_number(one.month))\n"
                "        yield one\n"
                "    warehouse.command(RECORD, first_kept=_number(expiry.before))\n",
            ),
        ),
        tests=(
            "tests/models/test_expired_loads.py"
            "::test_a_kill_at_any_point_is_completed_by_the_next_run",
        ),
    ),
    Mutation(
        "lines of loads that no table holds do not expire",
        (("loader/expire.py", "        if self.waiting:\n", "        if False:\n"),),
        tests=(
            "tests/models/test_expired_loads.py"
            "::test_loads_that_no_table_holds_are_refused_by_name",
        ),
    ),
    Mutation(
        "status shows rows that a table lost",
        (
            (
                "loader/lag.py",
                "    greatest(0, toInt64(followers.table_rows) - toInt64(followers.total_rows)) "
                "as missing_rows\n",
                "    toInt64(0) as missing_rows\n",
            ),
        ),
        tests=(f"{HIDDEN}::test_a_truncated_table_is_noticed[True]",),
    ),
)
