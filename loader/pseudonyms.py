"""Replace the key that makes learner_id: `xapi-elt rotate-key`."""

import json

from loader.clickhouse.schema import is_there, new_key
from loader.clickhouse.warehouse import Warehouse
from loader.errors import PermanentError, SettingsError
from loader.settings import Settings

# The earliest key counts; an interrupted rotation leaves several. The time of the next one is
# later, also if the clock was set back.
KEYS = """
select
    count() as keys,
    toString(min(created_at)) as first,
    toString(greatest(now64(3, 'UTC'), max(created_at) + interval 1 millisecond)) as next
from {raw:Identifier}.learner_key
"""

# The key travels as data, which is in no log of statements.
ADD_KEY = """
insert into {raw:Identifier}.learner_key (created_at, first_half, second_half) format JSONEachRow
"""

# By an ordinary delete, which rewrites the part: the key is gone from the disk a few minutes later.
FORGET_LATER = """
alter table {raw:Identifier}.learner_key delete
where created_at > {at:DateTime64(3, 'UTC')}
settings mutations_sync = 2
"""
FORGET_EARLIER = """
alter table {raw:Identifier}.learner_key delete
where created_at < {at:DateTime64(3, 'UTC')}
settings mutations_sync = 2
"""

GIVEN_IDS = """
select count() as learners from {database:Identifier}.section_learners where learner_id != ''
"""

AFTER_ROTATION = "dbt run --full-refresh"


def check_rosters(warehouse: Warehouse, settings: Settings) -> None:
    """Refuse to rotate the key if a roster names learners by ids that the old key made.

    Args:
        warehouse: the ClickHouse to query.
        settings: names of its databases.

    Raises:
        PermanentError: a roster has learner ids.
    """
    if is_there(warehouse, settings.database, "section_learners"):
        given = warehouse.query(GIVEN_IDS)[0]["learners"]
        if given:
            raise PermanentError(
                f"{given} rows of the seed section_learners have a learner_id, which would stay "
                "the old one. Give these learners by home_page and user_id (dim_learners has "
                "both), run dbt seed, then the same command again. The key was not changed"
            )


def rotate(warehouse: Warehouse, settings: Settings) -> None:
    """Make a new key and delete the old one. Until the old one is deleted it is in force, so an
    interrupted rotation can be run again.

    Args:
        warehouse: the ClickHouse to change.
        settings: names of its databases.

    Raises:
        PermanentError: there is no key, or a roster has learner ids.
        LoaderError: ClickHouse refuses or does not respond.
    """
    check_rosters(warehouse, settings)
    [known] = warehouse.query(KEYS)
    if not known["keys"]:
        raise SettingsError(f"{settings.raw_database}.learner_key has no key: xapi-elt init")
    # First, because it fails without the right to delete, before anything is changed.
    warehouse.command(FORGET_LATER, at=known["first"])
    key = json.loads(new_key()) | {"created_at": known["next"]}
    warehouse.command(ADD_KEY, data=json.dumps(key).encode())
    warehouse.command(FORGET_EARLIER, at=known["next"])
