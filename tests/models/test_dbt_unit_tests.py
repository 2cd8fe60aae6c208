"""The models' unit tests, which dbt runs: what each model makes of a few rows."""

import re


def test_every_dbt_unit_test_passes(database):
    printed = database.dbt("test", "--select", "test_type:unit")
    passed, total = map(int, re.search(r"PASS=(\d+) .*TOTAL=(\d+)", printed).groups())
    assert passed == total > 35
