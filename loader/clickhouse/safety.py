"""Refuse an engine whose version or settings could make a load see other rows than there are.

A user's settings profile may cut a read short without an error, filter rows, or change what a
NULL is. What the loader sends with every statement overrules it (`Warehouse.state`); what the
profile does not let anyone change is refused before anything is touched. dbt cannot overrule it
everywhere: the macro `check_engine` refuses the same settings there. It reads them from
macros/safe_settings.sql, which is generated from here:

    python -m loader.clickhouse.safety > macros/safe_settings.sql
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from loader.clickhouse.warehouse import Warehouse
from loader.errors import PermanentError, SettingsError

# The oldest ClickHouse whose s3() reads exactly the paths of a `where`.
OLDEST_ENGINE = (25, 8)


class UnsafeEngineError(SettingsError):
    """The engine could lose, double or change rows without an error; nothing was done."""


@dataclass(frozen=True)
class Rule:
    """What a setting must be.

    Attributes:
        accepted: its value, as system.settings writes it.
        why: what another value does.
        loads_only: whether dbt does not look at it: it only matters to loads, or cannot be seen.
        at_least: whether a larger number is accepted, too.
    """

    name: str
    accepted: str
    why: str
    loads_only: bool = False
    at_least: bool = False

    def allows(self, value: str) -> bool:
        """Whether a value is accepted."""
        if self.at_least and value.isdigit():
            return int(value) >= int(self.accepted)
        return value == self.accepted


_CUT = "a limit cuts the answer short without an error"

# Most were seen to change a load, its check, gc or a dbt run on the real engine; the rest are
# refused because an engine of another version may obey them (docs/decisions.md).
# Under the names that constraints stand by in system.settings, not under aliases.
RULES = (
    *(
        Rule(f"{what}_overflow_mode", "throw", _CUT)
        for what in (
            *("read", "result", "timeout", "group_by", "join", "set", "sort", "distinct"),
            "transfer",
        )
    ),
    Rule("read_overflow_mode_leaf", "throw", _CUT),
    Rule("timeout_overflow_mode_leaf", "throw", _CUT),
    Rule("limit", "0", "every select returns fewer rows", True),
    Rule("offset", "0", "every select leaves rows out", True),
    Rule("additional_table_filters", "{}", "rows are hidden: gc would delete committed lines"),
    Rule("additional_result_filter", "", "rows are hidden"),
    Rule("partial_result_on_first_cancel", "0", "a cancelled read counts as a whole one"),
    Rule("apply_deleted_mask", "1", "deleted rows are seen"),
    Rule("use_query_cache", "0", "an answer may be older than the ledger"),
    Rule(
        "allow_experimental_parallel_reading_from_replicas",
        "0",
        "replicas (enable_parallel_replicas) read twice, or read less than is there",
    ),
    Rule("insert_deduplication_token", "", "an insert is dropped as a repeat of another"),
    Rule("data_type_default_nullable", "0", "tables are created with other types"),
    Rule("empty_result_for_aggregation_by_empty_set", "0", "a count of nothing is no row"),
    Rule("aggregate_functions_null_for_empty", "0", "a sum of nothing is NULL"),
    Rule("join_default_strictness", "ALL", "a join keeps one match of several"),
    Rule("join_use_nulls", "0", "what a join does not find is NULL"),
    Rule("transform_null_in", "0", "NULL is found in lists"),
    Rule("group_by_use_nulls", "0", "keys of groups become NULL"),
    Rule("final", "0", "rows of one key are merged while they are read"),
    Rule("allow_experimental_analyzer", "1", "statements are read by other rules"),
    Rule("format_display_secrets_in_show_and_select", "0", "keys of the collection are shown"),
    Rule("async_insert", "0", "an insert is acknowledged before its rows are there", True),
    Rule("use_hive_partitioning", "0", "keys with '=' are read as columns", True),
    Rule("s3_ignore_file_doesnt_exist", "0", "a missing object reads as an empty one", True),
    Rule("schema_inference_mode", "default", "no object can be asked whether it exists", True),
    Rule("s3_path_filter_limit", "1000", "every load lists the bucket", True, at_least=True),
)

# One statement. What would hide its answer, or itself in it, it overrules. A setting that this
# engine does not know is not in it.
PROBE = """
select
    version() as version,
    currentUser() as user,
    groupArray(
        [name, value, toString(readonly), toString(ifNull(min, '')), toString(ifNull(max, ''))]
    ) as found
from system.settings
where name in {names:Array(String)}
settings
    limit = 0,
    offset = 0,
    additional_result_filter = '',
    allow_experimental_parallel_reading_from_replicas = 0,
    query_cache_nondeterministic_function_handling = 'ignore',
    query_cache_system_table_handling = 'ignore'
"""


def require(warehouse: Warehouse) -> None:
    """Refuse an unsafe engine; make a safe one stay so, whatever profile the user has.

    Raises:
        UnsafeEngineError: a version or setting is not accepted and cannot be overruled.
        LoaderError: the engine does not answer.
    """
    rows = probe(warehouse)
    if problems := list(unsafe(rows)):
        raise UnsafeEngineError(f"{'; '.join(problems)}. Nothing was done")
    warehouse.state(stated(rows))


def probe(warehouse: Warehouse) -> dict[str, dict[str, Any]]:
    """What the engine says of each setting it knows, by name; the warehouse knows its version.

    Raises:
        UnsafeEngineError: a setting that hides answers cannot be overruled.
    """
    try:
        answer = warehouse.query(PROBE, names=[rule.name for rule in RULES])
    except PermanentError as error:
        found = re.search(r"Setting (\w+) should", str(error))
        rule = next((rule for rule in RULES if found and rule.name == found[1]), None)
        if not rule:
            raise
        raise UnsafeEngineError(
            f"setting {rule.name} is not {rule.accepted!r} and the profile of the user lets nobody "
            f"change it ({rule.why}); accepted: {rule.accepted!r}; remove its constraint from the "
            "profile. Nothing was done"
        ) from None
    fields = ("name", "value", "readonly", "lowest", "highest")
    about = {"version": answer[0]["version"], "user": answer[0]["user"]}
    warehouse.version = _version(about["version"])
    found = (dict(zip(fields, one, strict=True)) for one in answer[0]["found"])
    return {row["name"]: row | about for row in found}


def unsafe(rows: dict[str, dict[str, Any]]) -> Iterator[str]:
    """What must not be loaded with: setting, value found, accepted value, remedy; one line each."""
    about = next(iter(rows.values()))
    if _version(about["version"]) < OLDEST_ENGINE:
        oldest = ".".join(map(str, OLDEST_ENGINE))
        yield f"ClickHouse {about['version']} is too old; accepted: {oldest} or newer; upgrade it"
    for rule in RULES:
        row = rows.get(rule.name)
        if row and not rule.allows(row["value"]) and not _changeable(row, rule.accepted):
            yield (
                f"setting {rule.name} is {row['value']!r} for user {about['user']} and its profile "
                f"lets nobody change it ({rule.why}); accepted: "
                f"{rule.accepted!r}{' or more' if rule.at_least else ''}; remove its constraint "
                "from the profile"
            )


def advice(rows: dict[str, dict[str, Any]]) -> Iterator[str]:
    """What works, but should be looked at."""
    if "s3_path_filter_limit" not in rows:
        yield (
            "this ClickHouse has no setting s3_path_filter_limit (25.12 and newer have it): a load "
            "of a key with other characters than A-Z a-z 0-9 . _ - = / lists the bucket; upgrade it"
        )
    for name in sorted(macro_rules()):
        row = rows.get(name)
        if row and row["value"] != macro_rules()[name] and _changeable(row, macro_rules()[name]):
            yield (
                f"setting {name} is {row['value']!r} for user {row['user']}: loads overrule it, "
                f"dbt refuses it; accepted: {macro_rules()[name]!r}; remove it from the profile"
            )


def macro_rules() -> dict[str, str]:
    """What dbt refuses (macros/check_engine.sql): settings and their accepted values."""
    return {rule.name: rule.accepted for rule in RULES if not rule.loads_only}


def macro() -> str:
    """The text of macros/safe_settings.sql: the settings that dbt refuses, as a dbt macro."""
    rules = "\n".join(f"        {name!r}: {value!r}," for name, value in macro_rules().items())
    return f"""\
{{#- What settings must be for dbt. Generated from loader/clickhouse/safety.py, which says why:
    python -m loader.clickhouse.safety > macros/safe_settings.sql -#}}
{{% macro safe_settings() %}}
    {{{{ return({{
{rules}
    }}) }}}}
{{% endmacro %}}
"""


def stated(rows: dict[str, dict[str, Any]]) -> dict[str, str]:
    """The settings to send with every statement: all that this engine knows and lets change."""
    return {
        rule.name: rule.accepted
        for rule in RULES
        if (row := rows.get(rule.name))
        and _changeable(row, rule.accepted)
        and not (rule.at_least and rule.allows(row["value"]))
    }


def _changeable(row: dict[str, Any], value: str) -> bool:
    """Whether the constraints of the profile let a setting have a value."""
    if row["readonly"] != "0":
        return False
    if not value.isdigit():
        return True
    below = row["lowest"] != "" and float(value) < float(row["lowest"])
    above = row["highest"] != "" and float(value) > float(row["highest"])
    return not below and not above


def _version(text: str) -> tuple[int, ...]:
    return tuple(int(part) for part in text.split(".")[:2])


if __name__ == "__main__":
    print(macro(), end="")
