"""Objects: what may be read, and how a batch is addressed."""

import pytest

from loader.batches import places
from loader.errors import PermanentError, SettingsError
from loader.objects import S3Object, check_readable, pattern


def test_an_object_is_named_by_its_uri():
    assert S3Object.from_uri("s3://lake/a/b c.jsonl") == S3Object("lake", "a/b c.jsonl")


@pytest.mark.parametrize("uri", ["lake/a", "s3://", "s3://lake", "s3://lake/", "s3:///a"])
def test_what_names_no_object_is_refused(uri):
    with pytest.raises(SettingsError, match="s3://bucket/key"):
        S3Object.from_uri(uri)


@pytest.mark.parametrize("key", ["a//b", "/a", "a\nb", "a\rb", "a/../b", "./a", "a/"])
def test_a_key_that_clickhouse_cannot_read_is_refused_by_name(key):
    with pytest.raises(PermanentError, match="cannot be read") as error:
        check_readable(S3Object("lake", key), ["lake"])
    assert repr(f"s3://lake/{key}")[1:-1].split("\\n")[0] in str(error.value).replace("\\\\", "\\")


def test_a_bucket_that_is_not_allowed_is_refused_by_name():
    with pytest.raises(PermanentError, match="XAPI_ALLOWED_BUCKETS") as error:
        check_readable(S3Object("other", "a.jsonl"), ["lake"])
    assert "'other'" in str(error.value)


@pytest.mark.parametrize("key", ["a.jsonl", "sectio", "SECTION/1/a.jsonl", "/section/a.jsonl"])
def test_a_key_outside_the_prefix_is_refused_by_name(key):
    with pytest.raises(SettingsError, match="XAPI_KEY_PREFIX") as error:
        check_readable(S3Object("lake", key), ["lake"], "section/")
    assert repr(key) in str(error.value)


def test_keys_below_the_prefix_are_accepted_and_without_one_all():
    check_readable(S3Object("lake", "section/1/a.jsonl"), ["lake"], "section/")
    check_readable(S3Object("lake", "a.jsonl"), ["lake"])


def test_objects_are_grouped_by_bucket_and_depth_and_each_once():
    items = [S3Object("b", "x/1"), S3Object("a", "1"), S3Object("b", "x/1"), S3Object("b", "x/2")]
    assert [[item.path for item in group] for group in places(items)] == [
        ["a/1"],
        ["b/x/1", "b/x/2"],
    ]


def test_the_pattern_has_one_star_per_level():
    assert pattern([S3Object("lake", "section/1/video/x.jsonl")]) == "lake/*/*/*/*"
