"""Tombstones: hashes that keep erased learners out. List, export and import them."""

import json
from typing import Any

from loader.clickhouse.warehouse import Warehouse
from loader.errors import SettingsError

LIST = """
select
    toString(request_id) as request_id,
    min(erased_at) as erased_at,
    any(reason) as reason,
    arraySort(groupUniqArray(kind)) as kinds,
    uniqExact(identity_hash) as tombstones
from {raw:Identifier}.erased_learners
group by request_id
order by erased_at, request_id
"""
RECEIPTS = """
select toString(request_id) as request_id, max(finished_at) as finished_at
from {raw:Identifier}.erasures
group by request_id
"""
KEY = """
select toString(first_half) as first_half, toString(second_half) as second_half
from {raw:Identifier}.erasure_key
order by created_at, erasure_key.first_half
limit 1
"""
ALL = """
select
    toString(identity_hash) as identity_hash,
    any(kind) as kind,
    any(reason) as reason,
    toString(any(request_id)) as request_id,
    toString(min(erased_at)) as erased_at
from {raw:Identifier}.erased_learners
group by identity_hash
order by identity_hash
"""
COUNT = "select count() as tombstones from {raw:Identifier}.erased_learners"
FORGET_KEY = "truncate table {raw:Identifier}.erasure_key"
ADD_KEY = """
insert into {raw:Identifier}.erasure_key (first_half, second_half) format JSONEachRow
"""
ADD = """
insert into {raw:Identifier}.erased_learners (identity_hash, kind, reason, request_id, erased_at)
format JSONEachRow
"""
FORMAT = "xapi-elt tombstones 1"


def listed(warehouse: Warehouse) -> list[dict[str, Any]]:
    """The erasures, without names: one row each, and when it was done."""
    done = {row["request_id"]: row["finished_at"] for row in warehouse.query(RECEIPTS)}
    return [row | {"finished_at": done.get(row["request_id"], "")} for row in warehouse.query(LIST)]


def exported(warehouse: Warehouse) -> str:
    """Key and tombstones as text, for `import_from`."""
    [key] = warehouse.query(KEY)
    whole = {"format": FORMAT, "key": key, "tombstones": warehouse.query(ALL)}
    return json.dumps(whole, indent=1) + "\n"


def import_from(warehouse: Warehouse, text: str) -> int:
    """Add exported tombstones to a database that has none, or that has the same key.

    Args:
        warehouse: has the database.
        text: what `exported` returned.

    Returns:
        The tombstones that are new here.

    Raises:
        SettingsError: it is no export, or its key is another one than that of tombstones here.
    """
    try:
        whole = json.loads(text)
        key = {half: str(int(whole["key"][half])) for half in ("first_half", "second_half")}
        rows = [
            {name: str(row[name]) for name in ("identity_hash", "kind", "reason")}
            | {"request_id": str(row["request_id"]), "erased_at": str(row["erased_at"])}
            for row in whole["tombstones"]
        ]
        if whole["format"] != FORMAT:
            raise ValueError
    except (ValueError, KeyError, TypeError):
        raise SettingsError(
            "the file is no export of tombstones; accepted: what xapi-elt erase --export wrote"
        ) from None
    [count] = warehouse.query(COUNT)
    known = warehouse.query(KEY)
    if known != [key]:
        if count["tombstones"]:
            raise SettingsError(
                "this database has tombstones that were made with another key, and both cannot be "
                "in force; import into a database without tombstones. Nothing was done"
            )
        warehouse.command(FORGET_KEY)
        warehouse.command(ADD_KEY, data=json.dumps(key).encode())
    here = {row["identity_hash"] for row in warehouse.query(ALL)}
    new = [row for row in rows if row["identity_hash"] not in here]
    if new:
        warehouse.command(ADD, data="\n".join(map(json.dumps, new)).encode())
    return len(new)
