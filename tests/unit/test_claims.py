"""An erasure claims tables as dbt does."""

import yaml

from loader.privacy import claims
from tests.helpers.paths import ROOT


def test_claims_expire_and_are_waited_for_as_dbt_does():
    variables = yaml.safe_load((ROOT / "dbt_project.yml").read_text())["vars"]
    assert variables["lock_expires_seconds"] == claims.EXPIRES
    assert variables["lock_wait_seconds"] == claims.LONGEST_WAIT
