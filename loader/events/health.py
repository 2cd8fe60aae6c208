"""Answer health checks and diagnostics."""

import platform
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from loader.checks import Check, check_warehouse
from loader.clickhouse.warehouse import Warehouse
from loader.errors import LoaderError
from loader.settings import Settings

# Settings that are not secret and show which services the function uses.
_SHOWN = ("target", "host", "port", "secure", "user", "database", "cluster", "s3_collection")
_SHOWN += ("stack", "key_prefix", "load_memory_mb")
_SHOWN += ("allowed_buckets", "queue_url", "environment", "log_level", "retry_seconds", "region")

LATEST = """
select
    outcome,
    count() as objects,
    sum(rows) as rows,
    toString(max(committed_at)) as latest
from {raw:Identifier}.loads
where committed_at > now64(3) - interval 1 day
group by outcome
order by outcome
"""


def answer(
    connect: Callable[[], Warehouse], settings: Settings, diagnostics: bool
) -> dict[str, Any]:
    """Check that the function can do its work.

    Args:
        connect: opens the warehouse.
        settings: the settings.
        diagnostics: whether to check S3, too, and to report settings and the last day's loads.

    Returns:
        `status` (ok, warn or fail) and each check. A failed check does not raise an error.
    """
    about: dict[str, Any] = {}
    try:
        warehouse = connect()
        checks = check_warehouse(warehouse, settings, s3=diagnostics)
        if diagnostics and all(check.verdict != "fail" for check in checks):
            about["last_day"] = warehouse.query(LATEST)
    except LoaderError as error:
        checks = [Check("engine", "fail", str(error))]
    if diagnostics:
        about["python"] = f"{platform.python_version()} {platform.machine()}"
        about["settings"] = {name: getattr(settings, name) for name in _SHOWN}
    verdicts = {check.verdict for check in checks}
    status = next((verdict for verdict in ("fail", "warn") if verdict in verdicts), "ok")
    return {"status": status, "checks": [asdict(check) for check in checks], **about}
