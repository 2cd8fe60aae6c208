"""Loading: S3 to committed raw, compared with only reading, and with one INSERT per object."""

from uuid import UUID, uuid4

from bench import bare, data
from bench.engine import Database, Site, interleaved, load_objects, timed
from bench.rows import Row
from loader.batches import pieces
from loader.clickhouse.connect import Warehouse
from loader.sources import S3Source


def measure(site: Site) -> list[Row]:
    """Measure large objects, then tiny ones."""
    return [*_large(site), *_tiny(site)]


def _large(site: Site) -> list[Row]:
    objects = data.large(site)[: site.size.loaded_large]
    database = Database(site.folder / "load")
    database.remove()
    with database.open() as (warehouse, settings):

        def ours():
            _empty(warehouse)
            return timed(lambda: load_objects(warehouse, settings, objects))

        def insert_into(table: str):
            other = bare.Redirected(warehouse, table)
            took = timed(lambda: S3Source(other, settings).insert(objects, UUID(int=0)))
            other.drop()
            return took

        since = site.lake.log_end()
        ours()
        requests = site.lake.requests(since)
        loaded, read, stored = interleaved(
            site.size.repeats,
            ours,
            lambda: insert_into(bare.NOTHING),
            lambda: insert_into(bare.HEAP),
        )
        counts = _stored(warehouse)
    size = sum(item.size for item in objects)
    return [
        Row(
            f"load {len(objects)} objects of {size / len(objects) / 1e6:.0f} MB into committed raw",
            size / loaded.wall / 1e6,
            "MB/s",
            reference=size / stored.wall / 1e6,
            ratio=stored.wall / loaded.wall,
            at_least=0.85,
            note="reference, the ceiling: the same INSERT into a table without order, nothing else",
            counts=counts
            | {
                "bytes": size,
                "S3 requests": dict(requests),
                "CPU s": round(loaded.cpu, 2),
                "CPU s of the reference": round(stored.cpu, 2),
                "read into a Null table, MB/s": round(size / read.wall / 1e6),
            },
        )
    ]


def _tiny(site: Site) -> list[Row]:
    objects = data.tiny(site)
    sample = objects[:: max(len(objects) // site.size.tiny_sample, 1)][: site.size.tiny_sample]
    database = Database(site.folder / "load")
    database.remove()
    with database.open() as (warehouse, settings):

        def ours():
            _empty(warehouse)
            return timed(lambda: load_objects(warehouse, settings, objects))

        def one_by_one():
            _empty(warehouse)
            source = S3Source(warehouse, settings)
            return timed(lambda: [source.insert([item], uuid4()) for item in sample])

        def bare_inserts():
            other = bare.Redirected(warehouse, bare.HEAP)
            source = S3Source(other, settings)
            took = timed(lambda: [source.insert(some, uuid4()) for some in pieces(objects)])
            other.drop()
            return took

        since = site.lake.log_end()
        ours()
        requests = site.lake.requests(since)
        counts = _stored(warehouse)
        loaded, single, stored = interleaved(site.size.repeats, ours, one_by_one, bare_inserts)
    alone = single.wall * len(objects) / len(sample)
    return [
        Row(
            f"load {len(objects):,} objects of 20 lines in 300 folders, against an INSERT each",
            len(objects) / loaded.wall,
            "objects/s",
            reference=len(objects) / alone,
            ratio=alone / loaded.wall,
            at_least=15,
            note=f"reference: the bare INSERT of {len(sample)} of them one by one, without checks "
            "and ledger",
            counts=counts
            | {
                "S3 requests": dict(requests),
                "S3 requests per object": round(requests.total() / len(objects), 3),
                "CPU s": round(loaded.cpu, 2),
            },
        ),
        Row(
            "the same, against bare INSERTs of a thousand objects",
            len(objects) / loaded.wall,
            "objects/s",
            reference=len(objects) / stored.wall,
            ratio=stored.wall / loaded.wall,
            at_least=0.85,
            note="reference, the ceiling: the same INSERTs into a table without order",
            counts={"CPU s of the reference": round(stored.cpu, 2)},
        ),
    ]


def _empty(warehouse: Warehouse) -> None:
    warehouse.command("truncate table {raw:Identifier}.statements")
    warehouse.command("truncate table {raw:Identifier}.loads")


def _stored(warehouse: Warehouse) -> dict[str, int]:
    """Count the lines and loads in raw, and the parts that the inserts wrote."""
    return warehouse.query(
        """
        select
            (select count() from {raw:Identifier}.statements) as lines,
            (select uniqExact(load_id) from {raw:Identifier}.loads) as INSERTs,
            sum(max_block_number - min_block_number + 1) as parts_inserted
        from system.parts
        where active and database = 'xapi_raw' and table = 'statements'
        """
    )[0]
