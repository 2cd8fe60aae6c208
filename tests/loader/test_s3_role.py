"""S3 with a role instead of a named collection, as on ClickHouse Cloud.

The engine here accepts the role and its external id, masks the id, and sends an unsigned request:
it assumes no role, and the objects here are public. So the statements are tested, the role is not.
"""

from contextlib import closing
from dataclasses import replace

import pytest

from loader.clickhouse.connect import open_warehouse
from loader.clickhouse.http import encode, open_http
from loader.errors import LoaderError
from loader.events.trigger import Trigger
from loader.load import load
from loader.objects import S3Object
from loader.sources import s3_lines, s3_names
from tests.helpers.secrets import MARK, shows_secret

ARN = "arn:aws:iam::123456789012:role/xapi-elt"
EXTERNAL_ID = f"external-{MARK}"
OPEN = {"standard library": open_http, "clickhouse-connect": open_warehouse}


@pytest.fixture
def with_role(settings, s3_endpoint):
    """The server's settings, with a role."""
    return replace(settings, s3_role_arn=ARN, s3_external_id=EXTERNAL_ID, s3_endpoint=s3_endpoint)


@pytest.mark.parametrize("client", OPEN)
def test_objects_load_with_a_role_and_no_value_is_in_the_sql(
    lake_server, with_role, put, bucket, client
):
    put("section/1/video/a.jsonl", b'{"a": 1}\n{"a": 2}', ACL="public-read")
    put("section/1/video/empty.jsonl", b"", ACL="public-read")
    items = [S3Object(bucket, f"section/1/video/{name}.jsonl") for name in ("a", "empty", "none")]
    with closing(OPEN[client](with_role)) as warehouse:
        outcomes = [one for batch in load(warehouse, with_role, items) for one in batch]
    found = {one.item.key.rpartition("/")[2]: (one.outcome, one.rows) for one in outcomes}
    assert found == {
        "a.jsonl": ("committed", 2),
        "empty.jsonl": ("committed", 0),
        "none.jsonl": ("failed", 0),
    }
    sent = [query for query in lake_server.queries if "s3(" in query]
    assert sent and all("extra_credentials(role_arn = {role_arn:String}" in sql for sql in sent)
    assert not [sql for sql in lake_server.queries if ARN in sql or bucket in sql]
    assert not shows_secret("\n".join(lake_server.queries) + repr(outcomes) + repr(with_role))


def test_a_bulk_event_lists_with_the_role(with_role, put, bucket):
    put("section/1/video/a.jsonl", b'{"a": 1}', ACL="public-read")
    with closing(Trigger(with_role, lambda _: open_http(with_role))) as trigger:
        event = {"mode": "bulk", "bucket": bucket, "prefixes": ["section/"]}
        assert trigger.answer(event | {"dry_run": True})["to_load"] == 1
        assert trigger.answer(event)["objects"] == {"committed": 1}


@pytest.mark.parametrize("client", OPEN)
def test_the_engine_masks_the_external_id_and_errors_do_not_show_it(with_role, client):
    with closing(OPEN[client](with_role)) as warehouse:
        sql = s3_lines(with_role)
        values = {"pattern": "bucket-0/*", "compression": "auto"}
        shown = warehouse.query(f"explain syntax select line from {sql}", **values)
        assert "external_id = '[HIDDEN]'" in str(shown) and not shows_secret(str(shown))
        # It is part of the text of this error, as of one that quotes the statement.
        for failing in ("select throwIf(1, {external_id:String})", f"select lime from {sql}"):
            with pytest.raises(LoaderError) as error:
                warehouse.query(failing, **values)
            assert not shows_secret(str(error.value))
        with pytest.raises(LoaderError, match=r"\*\*\*"):
            warehouse.query("select toUInt8({external_id:String})")


def test_the_external_id_is_not_in_the_url():
    url, _, body = encode("select 1", {"external_id": EXTERNAL_ID}, {}, None)
    assert not shows_secret(url) and shows_secret(body)


def test_a_cluster_names_the_role_too(with_role):
    cluster = replace(with_role, target="cluster", cluster="c", s3_external_id="")
    assert s3_names(cluster) == (
        "s3Cluster(`c`, concat({s3_url:String}, {pattern:String}), 'One', "
        "extra_credentials(role_arn = {role_arn:String}))"
    )
    assert s3_names(cluster, on_cluster=False).startswith("s3(concat(")
