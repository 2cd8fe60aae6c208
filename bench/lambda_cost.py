"""The Lambda: size, start, time, requests to ClickHouse, and what a million objects cost."""

import importlib.util
import json
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from statistics import median
from types import ModuleType
from typing import Any

from bench import data
from bench.engine import ROOT, Site
from bench.rows import Row
from loader.clickhouse import schema
from loader.clickhouse.embedded import engine_config
from loader.clickhouse.http import HttpWarehouse
from loader.objects import S3Object
from loader.settings import Settings
from tests.e2e.runtime_api import PYTHON, Function, bare
from tests.helpers.clickhouse_http import ClickHouseHttp

# Objects of an invocation and memory of the function, as in the template.
BATCH = 100
WARM = 5
MEMORY_GB = 256 / 1024


def measure(site: Site) -> list[Row]:
    """Time the real zip with AWS's runtime client, on an engine behind HTTP."""
    batches = _batches(data.tiny(site))
    with tempfile.TemporaryDirectory() as folder:
        package = builder().build(output=Path(folder) / "function.zip")
        size = package.stat().st_size
        with Function(bare(Path(folder)), {}, PYTHON) as nothing:
            bare_start = nothing.seconds_to_start
        settings = Settings.from_env()
        with ClickHouseHttp(Path(folder) / "db", engine_config(settings)) as server:
            target = Settings(target="server", host="127.0.0.1", port=server.port)
            with closing(HttpWarehouse(target)) as warehouse:
                schema.init(warehouse, target)
            environment = {
                "XAPI_TARGET": "server",
                "CLICKHOUSE_HOST": "127.0.0.1",
                "CLICKHOUSE_PORT": str(server.port),
                "XAPI_ALLOWED_BUCKETS": ",".join(settings.allowed_buckets),
            }
            runs = []
            for _ in range(site.size.repeats):
                with Function(package, environment, PYTHON) as function:
                    first = _invoke(function, next(batches))
                    server.queries.clear()
                    since = site.lake.log_end()
                    later = [_invoke(function, next(batches)) for _ in range(WARM)]
                    statements = list(server.queries)
                    requests = site.lake.requests(since)
                    runs.append((function.seconds_to_start, first, median(later)))
    start, first, later = (median(column) for column in zip(*runs, strict=True))
    one = len(statements) // WARM
    per_object = requests.total() / (WARM * BATCH)
    return [
        Row("zip of the function", size / 1024, "KiB", at_most=1024),
        Row(
            "start of a new process, against a bare handler",
            start * 1000,
            "ms",
            reference=bare_start * 1000,
            ratio=start / bare_start,
        ),
        Row(f"first invocation, {BATCH} objects of 20 lines", first * 1000, "ms"),
        Row(f"later invocations, {BATCH} objects of 20 lines", later * 1000, "ms"),
        Row(
            f"requests to ClickHouse of an invocation of {BATCH} objects",
            len(statements) / WARM,
            "requests",
            counts={
                "S3 requests per object": per_object,
                "statements": [" ".join(sql.split()[:3]) for sql in statements[:one]],
                "bytes of statements through the Lambda": 0,
            },
        ),
        _cost(site.prices, later, per_object),
    ]


def _cost(prices: dict[str, Any], seconds: float, s3_requests: float) -> Row:
    """The cost in dollars of a million objects, if each invocation loads a full batch."""
    invocations = 1_000_000 / BATCH
    parts = {
        "Lambda requests": invocations / 1e6 * prices["Lambda, a million requests"],
        "Lambda time": invocations * seconds * MEMORY_GB * prices["Lambda, a GB-second"],
        # One request to send each message; requests to receive or delete have ten messages.
        "SQS": 1.2 * prices["SQS, a million requests"],
        "S3 reads": s3_requests * prices["S3, a million GET or HEAD requests"],
    }
    return Row(
        f"cost of a million objects, {BATCH} an invocation, {MEMORY_GB * 1024:.0f} MB",
        sum(parts.values()),
        "US dollars",
        note=f"prices of {prices['date']}: {prices['source']}; time as measured here, without the "
        "way to S3 and to a server",
        counts={name: round(value, 3) for name, value in parts.items()},
    )


def _invoke(function: Function, batch: list[S3Object]) -> float:
    answer = function.invoke({"Records": [_message(item) for item in batch]})
    if answer.error or answer.content != {"batchItemFailures": []}:
        raise RuntimeError(f"the function answered {answer}\n{function.log.read_text()[-2000:]}")
    return answer.seconds


def _batches(objects: list[S3Object]) -> Iterator[list[S3Object]]:
    return (objects[at : at + BATCH] for at in range(0, len(objects), BATCH))


def _message(item: S3Object) -> dict[str, str]:
    """A message of SQS with the S3 notification of one object."""
    record = {
        "eventSource": "aws:s3",
        "eventName": "ObjectCreated:Put",
        "eventTime": "2026-01-01T00:00:00.000Z",
        "s3": {
            "bucket": {"name": item.bucket},
            "object": {"key": item.key, "size": item.size, "eTag": item.etag},
        },
    }
    return {
        "eventSource": "aws:sqs",
        "messageId": item.key,
        "receiptHandle": item.key,
        "body": json.dumps({"Records": [record]}),
    }


def builder() -> ModuleType:
    """Import lambda/make_zip.py, whose folder's name is a keyword of Python."""
    spec = importlib.util.spec_from_file_location("build_zip", ROOT / "lambda" / "make_zip.py")
    module = importlib.util.module_from_spec(spec)
    # Its dataclasses need their module in sys.modules.
    sys.modules["build_zip"] = module
    spec.loader.exec_module(module)
    return module
