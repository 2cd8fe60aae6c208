"""Events: one saved event for each route, and unknown messages."""

import json
from base64 import b64encode
from datetime import UTC, date, datetime
from urllib.parse import quote, unquote_plus

import pytest

from loader.bulk.selection import BulkRequest
from loader.errors import SettingsError
from loader.events.messages import Bundle, Health, Notifications, read
from loader.events.notifications import UnknownEventError
from loader.events.shapes import for_log
from tests.helpers.paths import EVENTS

BUCKET = "xapi-elt-prod-123456789012-eu-central-1"
PLAIN = "section/2161/video/2025-10-01T00-00-15.123456Z_0CC175B9C0F1B6A831C399E269772661.jsonl"
HOSTILE = "section/2161/video/a b+c%20é{1}.jsonl.gz"


def saved(name):
    """An event as AWS sends it."""
    return json.loads((EVENTS / f"{name}.json").read_text())


def keys_by_message(name):
    """The keys that each message of a saved event names."""
    return [[item.key for item in message.objects] for message in read(saved(name)).messages]


# What each message names.
NOTIFICATIONS = {
    "sqs_direct": [[PLAIN], [HOSTILE]],
    "sqs_eventbridge": [[PLAIN], [HOSTILE]],
    "sqs_sns": [[PLAIN], []],
    "sqs_test_event": [[]],
    "sqs_mixed": [[PLAIN, HOSTILE], [], [], [], ["section/1/video/by-hand.jsonl"]],
    "s3_direct": [[HOSTILE]],
    "sns_direct": [[PLAIN]],
    "eventbridge": [[HOSTILE]],
    "test_event": [[]],
    "bucket_key": [[HOSTILE]],
    "cloudtrail": [[HOSTILE]],
    "sqs_cloudtrail": [[PLAIN], [], []],
    "sqs_minio": [[HOSTILE]],
    "sqs_ceph": [[HOSTILE]],
    "folder_marker": [[]],
}

REQUESTS = {
    "bulk": BulkRequest(
        prefixes=("section/2161/", "section/2162/"),
        first_day=date(2025, 9, 1),
        last_day=date(2025, 9, 30),
        dry_run=True,
    ),
    "health_check": Health(),
    "diagnostics": Health(diagnostics=True),
}


@pytest.mark.parametrize(("name", "keys"), NOTIFICATIONS.items())
def test_a_notification_names_its_objects(name, keys):
    request = read(saved(name))
    assert keys_by_message(name) == keys
    assert request.queued == name.startswith("sqs_")
    assert {item.bucket for message in request.messages for item in message.objects} <= {BUCKET}


@pytest.mark.parametrize(("name", "request_"), REQUESTS.items())
def test_a_request_is_what_it_says(name, request_):
    assert read(saved(name)) == request_


def test_a_bundle_goes_by_the_name_torus_gave_it():
    bundle = read(saved("bundle"))
    assert isinstance(bundle, Bundle)
    assert (bundle.key, bundle.body.count("\n")) == (PLAIN, 1)


def test_every_saved_event_is_tested():
    tested = {*NOTIFICATIONS, *REQUESTS, "bundle"}
    assert {path.stem for path in EVENTS.glob("*.json")} == tested


@pytest.mark.parametrize(
    "name",
    ["sqs_direct", "sqs_eventbridge", "s3_direct", "eventbridge", "sqs_minio", "sqs_ceph"],
)
def test_version_size_and_time_come_with_the_notification(name):
    item = read(saved(name)).messages[-1].objects[0]
    assert (item.etag, item.size) == ("9a0364b9e99bb480dd25e1f0284c8555", 812)
    assert item.event_time.replace(microsecond=0) == datetime(2025, 10, 1, 0, 0, 15, tzinfo=UTC)


def test_messages_keep_what_their_queue_wants_to_hear():
    first, second = read(saved("sqs_direct")).messages
    assert (first.receives, second.receives) == (1, 3)
    assert first.id and first.receipt and first.id != second.id


def test_a_message_of_unknown_shape_is_marked_and_keeps_its_shape():
    request = read(saved("sqs_mixed"))
    errors = [message.error for message in request.messages]
    assert [bool(error) for error in errors] == [False, True, True, False, False]
    assert request.messages[1].shape == {"shape": "text of 15", "bytes": 15}
    assert request.messages[2].shape == {"shape": {"hello": "text of 5"}, "bytes": 18}


S3 = {"eventSource": "aws:s3", "eventName": "ObjectCreated:Put"}
CLOUDTRAIL = "AWS API Call via CloudTrail"


def notified(key="a", about=None, bucket="lake", **more):
    """A notification of S3 about one object, with some members of our choice."""
    s3 = {"bucket": {"name": bucket}, "object": {"key": key} | (about or {})}
    return {"Records": [S3 | {"s3": s3} | more]}


@pytest.mark.parametrize(
    "event",
    [
        None,
        [],
        "text",
        {},
        {"Records": []},
        {"Records": "none"},
        {"Records": [{"eventSource": "aws:dynamodb"}]},
        {"Records": [S3]},
        {"Records": [S3 | {"s3": {"bucket": {"name": "lake"}, "object": {"key": "a%FFb"}}}]},
        {"Records": [S3 | {"s3": {"bucket": {"name": "lake"}, "object": {"key": ""}}}]},
        {"Records": [S3 | {"s3": {"bucket": {"name": "lake"}, "object": {"key": "a" * 1025}}}]},
        {"Records": [S3 | {"s3": {"bucket": {"name": ""}, "object": {"key": "a"}}}]},
        {"Records": [{"eventSource": "aws:s3", "s3": {}}]},
        {"source": "aws.s3", "detail-type": "Object Created", "detail": {}},
        {"source": "aws.s3"},
        {"bucket": "lake", "key": 7},
        {"bucket": "lake", "key": "\ud800"},
        {"body": 7},
        {"body": "{}", "key": ""},
        {"body": "{}", "bundle_id": "../../x"},
        {"health_check": False},
        {"Type": "Notification", "Message": "not JSON"},
        {"Records": [{"EventSource": "aws:sns"}]},
        {"Records": [S3 | {"eventSource": "s3"}]},
        {"Records": [S3 | {"eventSource": None}]},
        {"Records": None, "EventName": "s3:ObjectCreated:Put", "Key": "lake/a"},
        {"source": "aws.s3", "detail-type": CLOUDTRAIL},
        {"source": "aws.s3", "detail-type": CLOUDTRAIL, "detail": {"eventName": None}},
        {"source": "aws.s3", "detail-type": CLOUDTRAIL, "detail": {"eventName": "PutObject"}},
    ],
)
def test_an_unknown_shape_is_refused_alone_and_marked_in_a_queue(event):
    with pytest.raises(UnknownEventError):
        read(event)
    batch = {"Records": [{"eventSource": "aws:sqs", "messageId": "1", "body": json.dumps(event)}]}
    [message] = read(batch).messages
    assert message.error and not message.objects


@pytest.mark.parametrize("body", [None, 7, "", "{", "[" * 100_000])
def test_a_message_without_json_is_marked(body):
    batch = {"Records": [{"eventSource": "aws:sqs", "messageId": "1", "body": body}]}
    [message] = read(batch).messages
    assert message.error


def test_a_plain_key_is_not_decoded_and_an_encoded_one_is_decoded_once():
    encoded = {"s3": {"bucket": {"name": "lake"}, "object": {"key": "a%2520b+c"}}}
    assert read({"Records": [S3 | encoded]}).messages[0].objects[0].key == "a%20b c"
    assert read({"bucket": "lake", "key": "a%2520b+c"}).messages[0].objects[0].key == "a%2520b+c"


def test_what_creates_no_object_asks_for_nothing():
    event = {"source": "aws.s3", "detail-type": "Object Deleted", "detail": {}}
    assert read(event) == Notifications((read({"Event": "s3:TestEvent"}).messages[0],))


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"start_date": "2025-09-31"}, "start_date"),
        ({"start_date": "20250901"}, "YYYY-MM-DD"),
        ({"end_date": 7}, "end_date"),
        ({"start_date": "2025-10-01", "end_date": "2025-09-01"}, "after"),
        ({"section": "abc"}, "section"),
        ({"section_ids": [1, -1]}, "section_ids"),
        ({"dry_run": "yes"}, "true, false"),
        ({"prefix": 7}, "prefix"),
        ({"bucket": 7}, "bucket"),
        ({"bucket": "\ud800"}, "bucket"),
        ({"prefixes": ["a", "\udfff"]}, "prefix"),
        ({"after": "\ud800"}, "after"),
        ({"since": "2025-09-01"}, "unknown field since"),
    ],
)
def test_a_wrong_field_of_a_bulk_request_is_named(fields, words):
    with pytest.raises(SettingsError, match=words):
        read({"mode": "bulk"} | fields)


def test_a_bulk_request_means_all_sections_unless_it_names_some():
    assert read({"mode": "bulk"}).prefixes == ("section/",)
    assert read({"mode": "bulk", "section": 7}).prefixes == ("section/7/",)
    assert read({"mode": "bulk", "prefix": "", "prefixes": ["a/"]}).prefixes == ("a/", "")


STATEMENT = {"actor": {"mbox": "mailto:learner@example.org"}, "verb": {"id": "x"}}


LINE = json.dumps(STATEMENT)
OF_1, OF_2 = "an object of 1", {"actor": "an object of 1", "verb": "an object of 1"}
KINESIS = {"eventSource": "aws:kinesis", "kinesis": {"data": b64encode(LINE.encode()).decode()}}


@pytest.mark.parametrize(
    ("event", "shape"),
    [
        ({"body": [STATEMENT, STATEMENT]}, {"body": "a list of 2"}),
        ({"body": STATEMENT, "key": "k"}, {"body": "an object of 2", "key": "k"}),
        ({"body": None, "n": 1, "b": True}, {"body": "null", "n": "a number", "b": "a boolean"}),
        ([STATEMENT], "a list of 1"),
        ({"statements": [{"agent": STATEMENT["actor"]}]}, {"statements": "a list of 1"}),
        ({"payload": LINE}, {"payload": "text of 70"}),
        ({"Records": [KINESIS]}, {"Records": [{"eventSource": "aws:kinesis", "kinesis": OF_1}]}),
        ({"key": LINE}, {"key": "text of 70"}),
        (
            {"key": str(STATEMENT), "time": quote(LINE)},
            {"key": "text of 70", "time": "text of 130"},
        ),
        ({"key": STATEMENT, "bucket": [LINE]}, {"key": "an object of 2", "bucket": "a list of 1"}),
        ({"Type": "Notification", "Message": LINE}, {"Type": "Notification", "Message": OF_2}),
        (
            {LINE: 1, "learner@example.org": 2},
            {"a name of 70": "a number", "a name of 19": "a number"},
        ),
        ({"detail": {"object": STATEMENT}}, {"detail": {"object": OF_2}}),
    ],
)
def test_of_an_event_of_unknown_shape_its_shape_is_logged(event, shape):
    with pytest.raises(UnknownEventError) as error:
        read(event)
    logged = for_log(event)
    assert logged == {"shape": shape, "bytes": len(json.dumps(event))}
    assert "learner" not in f"{logged} {error.value}"


@pytest.mark.parametrize(
    "name", [name for name in NOTIFICATIONS if not name.endswith("test_event")]
)
def test_the_keys_of_notifications_are_logged(name):
    """They are what an operator needs to find the objects of a message that is not understood."""
    request, event = read(saved(name)), saved(name)
    bodies = [one["body"] for one in event["Records"]] if request.queued else [event]
    for message, body in zip(request.messages, bodies, strict=True):
        shown = json.dumps(for_log(body), ensure_ascii=False)
        assert all(item.key in shown + unquote_plus(shown) for item in message.objects)


def test_what_is_logged_is_bounded():
    event = {f"n{number}": number for number in range(10_000)}
    event |= {"Records": [{"eventSource": "x" * 100_000}] * 10_000}
    assert len(str(for_log(dict(reversed(event.items()))))) < 30_000


@pytest.mark.parametrize(
    "fields",
    [
        {"prefixes": [STATEMENT]},
        {"prefixes": LINE, "bucket": STATEMENT},
        {"prefix": STATEMENT},
        {"bucket": [LINE]},
        {"after": STATEMENT},
        {"dry_run": LINE},
        {"section": STATEMENT},
        {"section_ids": [LINE]},
        {"start_date": STATEMENT},
        {"end_date": LINE},
        {LINE: 1},
    ],
)
def test_a_wrong_field_of_a_bulk_request_is_not_quoted_whole(fields):
    with pytest.raises(SettingsError) as error:
        read({"mode": "bulk"} | fields)
    assert "learner" not in str(error.value)


def test_statements_as_a_list_are_refused_with_what_is_accepted():
    with pytest.raises(UnknownEventError, match="a list of 2; accepted: text with one statement"):
        read({"body": [STATEMENT, STATEMENT]})


def cloudtrail(call, **more):
    """A request to S3 as CloudTrail records it."""
    detail = {"eventName": call, "requestParameters": {"bucketName": "lake", "key": "a%20b+c"}}
    return {"source": "aws.s3", "detail-type": CLOUDTRAIL, "detail": detail | more}


def loaded(event):
    """The keys that an event names."""
    return [item.key for message in read(event).messages for item in message.objects]


@pytest.mark.parametrize(
    "call", ["PutObject", "PostObject", "CopyObject", "CompleteMultipartUpload"]
)
def test_a_call_that_creates_an_object_loads_it_unless_it_failed(call):
    assert loaded(cloudtrail(call)) == ["a%20b+c"]
    assert loaded(cloudtrail(call, errorCode="NoSuchKey", requestParameters=None)) == []


@pytest.mark.parametrize("call", ["UploadPart", "GetObject", "DeleteObject", "PutObjectAcl", "New"])
def test_a_call_that_creates_no_object_loads_nothing(call):
    assert loaded(cloudtrail(call)) == []


@pytest.mark.parametrize(
    ("source", "key"),
    [
        ("aws:s3", "a b/c"),
        ("minio:s3", "a b/c"),
        ("sgws:s3", "a b/c"),
        ("ceph:s3", "a+b%2Fc"),
    ],
)
def test_keys_of_each_source_are_decoded_as_it_encodes_them(source, key):
    assert loaded(notified("a+b%2Fc", eventSource=source)) == [key]


@pytest.mark.parametrize(
    ("name", "count"),
    [
        ("ObjectCreated:Copy", 1),
        ("s3:ObjectCreated:CompleteMultipartUpload", 1),
        ("ObjectSynced:Create", 1),
        ("s3:ObjectAccessed:Get", 0),
        ("ObjectRemoved:Delete", 0),
        ("s3:ObjectRestore:Completed", 0),
    ],
)
def test_only_what_creates_an_object_loads_one(name, count):
    assert len(loaded(notified(eventName=name))) == count


@pytest.mark.parametrize(
    "event",
    [
        notified("a+b/", {"size": 0}),
        notified("a%2Fb%2F", {"size": 0}, eventSource="minio:s3"),
        notified("a/", eventSource="ceph:s3"),
        {"Type": "Notification", "Message": json.dumps(notified("a/", {"size": 0}))},
        cloudtrail("PutObject", requestParameters={"bucketName": "lake", "key": "a/"}),
        {"bucket": "lake", "key": "section/"},
    ],
)
def test_a_folder_marker_loads_nothing(event):
    assert loaded(event) == []


def test_an_object_with_the_name_of_a_folder_is_no_marker():
    assert loaded(notified("a/", {"size": 7})) == ["a/"]


@pytest.mark.parametrize(
    "event",
    [
        notified(bucket="la\ud800ke"),
        notified(bucket="b" * 200_000),
        notified(bucket=["lake"]),
        notified("a\udfff"),
        notified(about={"eTag": "\ud800"}),
        notified(about={"eTag": "e" * 200_000}),
        notified(about={"eTag": "e\n"}),
        notified(about={"eTag": 7}),
        notified(about={"versionId": {"id": None}}),
        notified(about={"versionId": "v" * 200_000}),
        {"source": "aws.s3", "detail-type": "Object Created", "detail": {"bucket": None}},
        {"bucket": "\ud83d", "key": "a"},
    ],
)
def test_names_that_cannot_be_stored_are_refused(event):
    with pytest.raises(UnknownEventError) as error:
        read(event)
    assert len(str(error.value).encode()) < 20_000


@pytest.mark.parametrize("size", [True, "7", "many", -1, 2**64, 1e300, 1.5, None, [], {"n": 1}])
def test_a_size_that_is_none_is_left_out(size):
    [item] = read(notified(about={"size": size})).messages[0].objects
    assert (item.size, type(item.size)) == (0, int)


@pytest.mark.parametrize(
    "time",
    [
        "0001-01-01T00:00:00+14:00",
        "9999-12-31T23:59:59-14:00",
        "1900-01-01T00:00:00Z",
        "2025-10-01T00:00:15",
        "yesterday",
        7,
        None,
        {},
    ],
)
def test_a_time_that_cannot_be_stored_is_left_out(time):
    [item] = read(notified(eventTime=time)).messages[0].objects
    assert item.event_time is None


@pytest.mark.parametrize("count", ["9" * 10_000, "²", True, None, {}, "-1"])
def test_a_number_of_receives_that_is_none_counts_as_the_first(count):
    attributes = {"ApproximateReceiveCount": count}
    record = {"eventSource": "aws:sqs", "body": "{}", "attributes": attributes}
    [message] = read({"Records": [record]}).messages
    assert message.receives == 1


def test_the_name_of_a_version_comes_with_the_notification():
    direct = notified(about={"versionId": "v1"})
    bridge = {
        "source": "aws.s3",
        "detail-type": "Object Created",
        "detail": {"bucket": {"name": "lake"}, "object": {"key": "a", "version-id": "v1"}},
    }
    for event in (direct, bridge):
        assert read(event).messages[0].objects[0].version_id == "v1"
    assert read(notified(about={"versionId": ""})).messages[0].objects[0].version_id == ""
