"""Any statement with a random id is one event in whatever form it comes again within its hour; any
statement without an id is another event when one of its values changes."""

import copy
import json
import random
from contextlib import closing
from typing import Any

from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st

from loader.clickhouse import schema
from loader.clickhouse.connect import open_warehouse
from loader.files import local_objects
from loader.load import load
from loader.settings import Settings
from tests.chaos.fuzz_lines import written
from tests.helpers.dbt_runs import run_dbt
from tests.models.test_families import statements

# Lines of one statement are next to each other.
FORMS, CHANGED = 4, 2
IDS = """
select
    intDiv(source_line - 1, {size:UInt32}) as number,
    uniqExact(event_id) as events,
    countIf(family = 'rejected') as rejected,
    count() as lines
from {database:Identifier}.stg_xapi__statements
where endsWith(source_path, {file:String})
group by number
"""


def changed(dice: random.Random, statement: dict[str, Any], number: int) -> dict[str, Any]:
    """The statement with one of its values changed."""
    other = copy.deepcopy(statement)
    holder, name = dice.choice(list(leaves(other)))
    holder[name] = f"changed {number}"
    return other


def leaves(value: Any):
    """The places of all values that hold no others."""
    for name, inner in list(value.items() if isinstance(value, dict) else enumerate(value)):
        if isinstance(inner, dict | list) and inner:
            yield from leaves(inner)
        else:
            yield value, name


def test_the_id_of_an_event_depends_on_what_it_should(chdb_path, tmp_path):
    forms: list[bytes] = []
    pairs: list[bytes] = []

    @settings(
        max_examples=400,
        deadline=None,
        derandomize=True,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
        database=None,
    )
    @given(statement=statements, seed=st.integers(0, 2**32))
    def collect(statement: dict[str, Any], seed: int) -> None:
        dice = random.Random(seed)
        named = statement | {
            "id": f"c0ffee00-0000-4000-8000-{len(forms):012x}",
            "timestamp": "2025-10-01T10:30:00.123456Z",
        }
        later = [f"2025-10-01T10:{dice.randrange(60):02}:00Z", "2025-10-01T12:59:59+02:00"]
        for one in (named, named, *(named | {"timestamp": time} for time in later)):
            forms.append(
                written(dice, one | {"id": dice.choice([str.upper, str.lower])(one["id"])})
            )
        without = {name: value for name, value in statement.items() if name != "id"}
        pairs.extend(
            json.dumps(one).encode() for one in (without, changed(dice, without, len(pairs)))
        )

    collect()
    (tmp_path / "lines").mkdir()
    (tmp_path / "lines" / "forms.jsonl").write_bytes(b"\n".join(forms))
    (tmp_path / "lines" / "pairs.jsonl").write_bytes(b"\n".join(pairs))
    current = Settings.from_env()
    with closing(open_warehouse(current)) as warehouse:
        schema.init(warehouse, current)
        list(load(warehouse, current, local_objects(tmp_path / "lines"), mode="file"))
    run_dbt("run", "--select", "stg_xapi__statements", folder=tmp_path)
    with closing(open_warehouse(current)) as warehouse:
        of_forms = warehouse.query(IDS, size=FORMS, file="forms.jsonl")
        of_pairs = warehouse.query(IDS, size=CHANGED, file="pairs.jsonl")
    events = [row for row in of_forms if not row["rejected"]]
    assert len(events) > len(of_forms) / 6
    assert [row for row in events if row["events"] != 1] == []
    assert [row for row in of_pairs if row["events"] != CHANGED] == []
