"""Corpora of hostile keys and lines; the whole ones with XAPI_CHAOS=1, from XAPI_CHAOS_SEED."""

import os

from tests.chaos import fuzz_keys, fuzz_lines
from tests.helpers.compare import FAMILY_TABLES

FULL = os.environ.get("XAPI_CHAOS") == "1"
SEED = int(os.environ.get("XAPI_CHAOS_SEED", "1"))
KEYS, LINES = (10_000, 100_000) if FULL else (300, 2_000)


def test_every_key_loads_its_own_lines_or_is_refused_by_name(s3_endpoint, chdb_path):
    report = fuzz_keys.run(SEED, KEYS)
    print(f"seed {SEED}: {dict(sorted(report.outcomes.items()))}")
    assert not report.faults, "\n".join(report.faults[:9])
    assert report.outcomes.total() == KEYS
    assert {key.split()[1] for key in report.outcomes} == {"loaded", "refused"}
    assert len(report.outcomes) == 2 * len(fuzz_keys.ROUTES)


def test_every_line_is_accounted_for_and_every_table_is_as_the_oracle_reads_it(chdb_path, tmp_path):
    families, faults = fuzz_lines.run(SEED, LINES, tmp_path)
    print(f"seed {SEED}: {dict(sorted(families.items()))}")
    assert not faults, f"{len(faults)} differences:\n" + "\n".join(faults[:9])
    assert set(families) == {*FAMILY_TABLES, "other", "rejected"}
