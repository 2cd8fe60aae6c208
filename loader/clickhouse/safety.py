"""Refuse an engine whose version or settings could make a load lose, duplicate or change rows.

A user's settings profile may truncate a read without an error, filter rows, or change how NULL is
handled. The loader sends its own values with every statement (`Warehouse.apply_settings`). If the
profile forbids a change, the engine is refused before anything is written. dbt cannot send its own
values everywhere, so its macro `check_engine` refuses these settings. It reads them
from macros/safe_settings.sql, which is generated from here:

    python -m loader.clickhouse.safety > macros/safe_settings.sql
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from loader.clickhouse.warehouse import Warehouse
from loader.errors import PermanentError, SettingsError
from loader.settings import Settings

# The oldest ClickHouse whose s3() reads exactly the paths of a `where`.
OLDEST_ENGINE = (25, 8)


class UnsafeEngineError(SettingsError):
    """The engine could lose, duplicate or change rows without an error; nothing was done."""


@dataclass(frozen=True)
class Rule:
    """The value that a setting must have.

    Attributes:
        name: the setting's name in system.settings; constraints do not apply to aliases.
        accepted: the value, as system.settings writes it.
        why: what another value does.
        loads_only: whether dbt ignores it, because it only affects loads or dbt cannot see it.
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


# Loads set it in each statement; the profile must allow it.
MEMORY = "max_memory_usage"

_CUT = "a limit truncates results without an error"

# Most of these changed a load, its verification, gc or a dbt run when tried on the real engine. The
# others are refused because an engine of another version may apply them (docs/decisions).
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
    Rule("offset", "0", "every select omits rows", True),
    Rule("additional_table_filters", "{}", "rows are hidden: gc would delete committed lines"),
    Rule("additional_result_filter", "", "rows are hidden"),
    Rule("partial_result_on_first_cancel", "0", "a cancelled read counts as a complete one"),
    Rule("apply_deleted_mask", "1", "deleted rows are visible"),
    Rule("use_query_cache", "0", "a result may be older than the ledger"),
    Rule(
        "allow_experimental_parallel_reading_from_replicas",
        "0",
        "parallel replicas (enable_parallel_replicas) read some rows twice or not at all",
    ),
    Rule("insert_deduplication_token", "", "an insert is dropped as a duplicate of another"),
    Rule("data_type_default_nullable", "0", "tables are created with other types"),
    Rule("empty_result_for_aggregation_by_empty_set", "0", "a count of no rows returns no row"),
    Rule("aggregate_functions_null_for_empty", "0", "a sum of no rows is NULL"),
    Rule("join_default_strictness", "ALL", "a join keeps one match of several"),
    Rule("join_use_nulls", "0", "columns without a match in a join are NULL"),
    Rule("transform_null_in", "0", "NULL matches NULL in lists"),
    Rule("group_by_use_nulls", "0", "grouping keys become NULL"),
    Rule("final", "0", "rows with the same key are merged while they are read"),
    Rule("allow_experimental_analyzer", "1", "statements are interpreted by other rules"),
    Rule("format_display_secrets_in_show_and_select", "0", "keys of the collection are shown"),
    Rule("async_insert", "0", "an insert is acknowledged before its rows are visible", True),
    Rule("use_hive_partitioning", "0", "keys with '=' are read as columns", True),
    Rule("s3_ignore_file_doesnt_exist", "0", "a missing object reads as an empty one", True),
    Rule("schema_inference_mode", "default", "the existence of objects cannot be checked", True),
    Rule("s3_path_filter_limit", "1000", "every load lists the bucket", True, at_least=True),
)

# Reads all settings with one statement. It overrides those settings that could hide its result.
# Settings that this engine does not have are missing from the result.
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

# Rows of the ledger that are stored and that the user sees, as scalar subqueries. Deleted rows are
# stored until their parts merge, but projections do not count them.
STORED_ROWS = """(
    select total_rows from system.tables where database = {raw:String} and name = 'loads'
)"""
VISIBLE_ROWS = """(
    select count() from {raw:Identifier}.loads
    settings apply_deleted_mask = 0, optimize_use_projections = 0
)"""
ROWS_OF_LEDGER = f"select {STORED_ROWS} as stored, {VISIBLE_ROWS} as visible"


def require(warehouse: Warehouse, settings: Settings) -> None:
    """Refuse an unsafe engine; otherwise make every statement send the accepted settings.

    Args:
        warehouse: the connection to check.
        settings: the memory that a load may use, which its statements set themselves.

    Raises:
        UnsafeEngineError: the version or a setting is not accepted and cannot be changed.
        LoaderError: the engine does not respond.
    """
    rows = probe(warehouse)
    if problems := list(unsafe(rows, settings)):
        raise UnsafeEngineError(f"{'; '.join(problems)}. Nothing was done")
    warehouse.apply_settings(settings_to_send(rows))


def require_or_close(warehouse: Warehouse, settings: Settings) -> None:
    """Check a new connection as `require` does, and close it if the check fails."""
    try:
        require(warehouse, settings)
    except BaseException:
        warehouse.close()
        raise


def check_visible(warehouse: Warehouse, stored: int | None = None, visible: int = -1) -> None:
    """Refuse to work if a row policy hides rows of the ledger from the user: what it hides would be
    loaded again, and `gc` would remove its lines.

    Args:
        warehouse: has the ledger.
        stored: rows of the ledger, if they were counted already; None if the engine does not know.
        visible: those that the user sees, if they were counted; -1 if not.

    Raises:
        UnsafeEngineError: rows are hidden.
    """
    # Rows may be inserted or merged between the two counts.
    for _ in range(3):
        if visible >= (stored or 0):
            return
        [row] = warehouse.query(ROWS_OF_LEDGER)
        stored, visible = row["stored"], row["visible"]
    if visible < (stored or 0):
        raise UnsafeEngineError(
            f"the user sees only {visible} of {stored} rows of the ledger; a row policy hides the "
            "others. Give the user a policy of its own: create row policy loader on <raw "
            "database>.loads using 1 to <user>. Nothing was done"
        )


def probe(warehouse: Warehouse) -> dict[str, dict[str, Any]]:
    """Read the engine's settings and version; sets `warehouse.version`.

    Returns:
        By name of a setting: its value and constraints, and the engine's version and user.

    Raises:
        UnsafeEngineError: a setting that hides results cannot be changed.
    """
    try:
        answer = warehouse.query(PROBE, names=[*(rule.name for rule in RULES), MEMORY])
    except PermanentError as error:
        found = re.search(r"Setting (\w+) should", str(error))
        rule = next((rule for rule in RULES if found and rule.name == found[1]), None)
        if not rule:
            raise
        raise UnsafeEngineError(
            f"setting {rule.name} is not {rule.accepted!r} and the user's profile forbids changing "
            f"it ({rule.why}); accepted: {rule.accepted!r}; remove its constraint from the "
            "profile. Nothing was done"
        ) from None
    fields = ("name", "value", "readonly", "lowest", "highest")
    about = {"version": answer[0]["version"], "user": answer[0]["user"]}
    warehouse.version = _version(about["version"])
    found = (dict(zip(fields, one, strict=True)) for one in answer[0]["found"])
    return {row["name"]: row | about for row in found}


def unsafe(rows: dict[str, dict[str, Any]], settings: Settings) -> Iterator[str]:
    """What makes the engine unsafe, one line each: setting, value, accepted value, remedy.

    Args:
        rows: what `probe` returned.
        settings: the memory that a load may use.
    """
    about = next(iter(rows.values()))
    if _version(about["version"]) < OLDEST_ENGINE:
        oldest = ".".join(map(str, OLDEST_ENGINE))
        yield f"ClickHouse {about['version']} is too old; accepted: {oldest} or newer; upgrade it"
    for rule in RULES:
        row = rows.get(rule.name)
        if row and not rule.allows(row["value"]) and not _changeable(row, rule.accepted):
            yield (
                f"setting {rule.name} is {row['value']!r} for user {about['user']} and its profile "
                f"forbids changing it ({rule.why}); accepted: "
                f"{rule.accepted!r}{' or more' if rule.at_least else ''}; remove its constraint "
                "from the profile"
            )
    row, limit = rows.get(MEMORY), str(settings.load_memory)
    if row and row["value"] != limit and not _changeable(row, limit):
        yield (
            f"setting {MEMORY} is {row['value']!r} for user {row['user']} and its profile forbids "
            f"{limit!r}, which loads set; set XAPI_LOAD_MEMORY_MB (now {settings.load_memory_mb}) "
            "to what the profile allows, or change the constraint in the profile"
        )


def advice(rows: dict[str, dict[str, Any]]) -> Iterator[str]:
    """What is safe but should be changed, one line each.

    Args:
        rows: what `probe` returned.
    """
    if "s3_path_filter_limit" not in rows:
        yield (
            "this ClickHouse has no setting s3_path_filter_limit (added in 25.12): loading "
            "a key with other characters than A-Z a-z 0-9 . _ - = / lists the bucket; upgrade it"
        )
    for name in sorted(macro_rules()):
        row = rows.get(name)
        if row and row["value"] != macro_rules()[name] and _changeable(row, macro_rules()[name]):
            yield (
                f"setting {name} is {row['value']!r} for user {row['user']}: loads override it, "
                f"dbt refuses it; accepted: {macro_rules()[name]!r}; remove it from the profile"
            )


def macro_rules() -> dict[str, str]:
    """The settings that dbt checks (macros/check_engine.sql), with their accepted values."""
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


def settings_to_send(rows: dict[str, dict[str, Any]]) -> dict[str, str]:
    """The settings to send with every statement: those that the engine has and the profile allows.

    Args:
        rows: what `probe` returned.
    """
    return {
        rule.name: rule.accepted
        for rule in RULES
        if (row := rows.get(rule.name))
        and _changeable(row, rule.accepted)
        and not (rule.at_least and rule.allows(row["value"]))
    }


def _changeable(row: dict[str, Any], value: str) -> bool:
    """Whether the constraints of the profile allow a value."""
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
