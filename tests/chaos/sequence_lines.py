"""What the random sequences write: the lines of objects, and another loader's attempts."""

import json

from tests.helpers.small_database import BAD_LINE, VERBS_AND_TYPES, statement

SECTIONS, MONTHS = (1, 2, 3), (9, 10, 11)

# Few enough that objects and versions share events.
POOL = [
    *(
        statement(
            family,
            context={"extensions": {"http://oli.cmu.edu/extensions/section_id": section}},
            timestamp=f"2025-{month:02}-{day:02}T08:00:00Z",
        )
        for family in VERBS_AND_TYPES
        for section in SECTIONS
        for month in MONTHS
        for day in (1, 20)
    ),
    BAD_LINE,
    json.dumps({"verb": {"id": "x"}}),
]

# Another loader's attempt at the last committed version of a key: its lines, and its commit, which
# became visible only now.
OTHER_LINES = """
insert into xapi_raw.statements
select * replace (toUUID('{id}') as load_id)
from (
    select * from xapi_raw.statements
    where (load_id, key) in (
        select load_id, key from xapi_raw.loads
        where key = '{key}' and outcome = 'committed' order by commit_number desc, load_id limit 1
    )
)
"""
OTHER_COMMIT = """
insert into xapi_raw.loads
select * replace (
    toUUID('{id}') as load_id, committed_at - toIntervalSecond({seconds}) as committed_at
)
from (
    select * from xapi_raw.loads
    where key = '{key}' and outcome = 'committed' order by commit_number desc, load_id limit 1
)
"""
