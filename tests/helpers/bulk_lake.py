"""Lakes, the command line in this process and S3's requests, for the tests of bulk loads."""

import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from urllib.parse import unquote, urlsplit

import boto3
import pytest
import werkzeug.serving

from loader.cli import main as cli
from loader.pipeline import Pipeline

LINE = b'{"verb":{"id":"x"}}'


def key_of(section: int, day: str, number: int = 0, suffix: str = ".jsonl") -> str:
    """A key as Torus writes it: the day, and the number as its seconds."""
    return f"section/{section}/video/{day}T00-00-{number:02}.123456Z_0CC1{suffix}"


def fill(bucket: str, bodies: dict[str, bytes]) -> None:
    """Write objects, several at a time."""
    client = boto3.client("s3")
    with ThreadPoolExecutor(4) as pool:
        for _ in pool.map(
            lambda one: client.put_object(Bucket=bucket, Key=one[0], Body=one[1]), bodies.items()
        ):
            pass


def run_cli(capsys, *arguments: str, code: int = 0) -> str:
    """Run a command as `xapi-elt` would, check its exit code and return what it printed: the
    errors if it failed to do anything, else the answer."""
    capsys.readouterr()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["xapi-elt", *arguments])
        try:
            cli.main()
        except SystemExit as ending:
            status = ending.code or 0
        else:
            status = 0
    out, err = capsys.readouterr()
    assert status == code, out + err
    return err if code == 2 else out


def rows(sql: str, **values) -> list[dict]:
    """Query the database of the environment, then close it."""
    with Pipeline.from_env() as pipeline:
        return pipeline.warehouse.query(sql, **values)


def committed() -> dict[str, int]:
    """Commits of each key in the ledger."""
    sql = """
        select key, count() as n
        from {raw:Identifier}.loads
        where outcome = 'committed'
        group by key
    """
    return {row["key"]: row["n"] for row in rows(sql)}


@contextmanager
def counting_requests() -> Iterator[list[tuple[str, str]]]:
    """Record the requests to S3, as (method, path without bucket; '?' for a listing)."""
    seen: list[tuple[str, str]] = []

    def note(handler, *_):
        url = urlsplit(handler.path)
        listing = "list-type" in url.query
        key = unquote(url.path).lstrip("/").partition("/")[2]
        seen.append((handler.command, "?" if listing else key))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(werkzeug.serving.WSGIRequestHandler, "log_request", note)
        yield seen
