"""Compressed local files that are sent to a server: read, or failed by name."""

import gzip
from contextlib import closing

from loader.clickhouse.http import HttpWarehouse
from loader.files import local_objects
from loader.load import load
from tests.loader.test_compressed import CONTENTS, PLAIN

# Python reads a gzip file that is padded with zeros.
LINES = {name: lines for name, (_, lines) in CONTENTS.items()} | {"gzip padded with zeros": 3}


def test_local_files_are_sent_or_fail_by_name(lake_server, settings, tmp_path):
    (tmp_path / "padded.jsonl.gz").write_bytes(gzip.compress(PLAIN) + b"\0" * 100)
    (tmp_path / "plain.jsonl.gz").write_bytes(PLAIN)
    for name, (body, _) in CONTENTS.items():
        (tmp_path / f"{name}.jsonl").write_bytes(body)
    with closing(HttpWarehouse(settings)) as warehouse:
        batches = list(load(warehouse, settings, local_objects(tmp_path)))
    outcomes = {outcome.item.key: outcome for batch in batches for outcome in batch}
    for name, lines in LINES.items():
        outcome = outcomes[str(tmp_path / f"{name}.jsonl")]
        assert outcome.outcome == ("failed" if lines is None else "committed"), outcome
        assert outcome.rows == (lines or 0), outcome
    assert outcomes[str(tmp_path / "padded.jsonl.gz")].rows == 3
    assert "gunzip" in outcomes[str(tmp_path / "plain.jsonl.gz")].error
