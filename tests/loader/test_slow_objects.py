"""Objects that take longer to read than there is time: they fail alone, by name, and their
neighbours load at the next delivery."""

import gzip

import pytest

from loader import load as loading
from loader.errors import UnknownOutcomeError
from tests.helpers.trigger_stage import LINE, named
from tests.loader.test_overwritten import _keep_versions, write


@pytest.fixture
def inserted(monkeypatch) -> list[list[str]]:
    """The names of each INSERT. One with an object named slow takes all the time that it may."""
    found: list[list[str]] = []
    insert, insert_version = loading.S3Source.insert, loading.S3Source.insert_version

    def slowly(source, batch) -> None:
        found.append([item.key.rpartition("/")[2].partition(".")[0] for item in batch])
        if any("slow" in name for name in found[-1]):
            # The time passes, without waiting for it.
            source._warehouse.deadline -= source._warehouse._seconds()
            raise UnknownOutcomeError("Code: 159. DB::Exception: Timeout exceeded")

    def counted(source, batch, *more):
        slowly(source, batch)
        insert(source, batch, *more)

    def counted_version(source, item, *more):
        slowly(source, [item])
        insert_version(source, item, *more)

    monkeypatch.setattr(loading.S3Source, "insert", counted)
    monkeypatch.setattr(loading.S3Source, "insert_version", counted_version)
    return found


def place(put, bucket: str, *names: str, folder: str = "section/1/video") -> list[dict]:
    """Put objects of these names; returns their messages."""
    keys = [f"{folder}/{name}.jsonl" for name in names]
    for key in keys:
        put(key, LINE)
    return [named(bucket, key) for key in keys]


def test_a_slow_object_fails_alone_at_the_next_delivery(stage, put, bucket, inserted):
    messages = place(put, bucket, "b-slow", "c", "a")
    assert stage.deliver(*messages, seconds=60) == ["m0", "m1", "m2"]
    assert [row["outcome"] for row in stage.ledger()] == ["unknown"] * 3
    assert stage.deliver(*messages, seconds=60) == ["m0"]
    assert inserted == [["b-slow", "c", "a"], ["b-slow"], ["c"], ["a"]]
    assert len(stage.visible()) == 2
    [*_, last] = [row for row in stage.ledger() if row["outcome"] == "unknown"]
    assert last["error"].startswith(f"s3://{bucket}/section/1/video/b-slow.jsonl: Code: 159")


def test_new_neighbours_load_before_a_known_slow_object(stage, put, bucket, inserted):
    [slow] = place(put, bucket, "slow", folder="a")
    assert stage.deliver(slow, seconds=60) == ["m0"]
    inserted.clear()
    assert stage.deliver(slow, *place(put, bucket, "n1", "n2"), seconds=60) == ["m0"]
    assert inserted == [["n1", "n2"], ["slow"]]


def test_many_slow_objects_leave_time_for_their_neighbours(stage, put, bucket, inserted):
    slow = [f"{number}-slow" for number in range(8)]
    messages = place(put, bucket, *slow, *"xyz")
    for _ in range(5):
        failed = stage.deliver(*messages, seconds=600)
    assert failed == [f"m{number}" for number in range(8)]
    assert len(stage.visible()) == 3


def test_a_slow_version_that_was_overwritten_comes_last_too(stage, bucket, put, inserted):
    _keep_versions(bucket)
    key = "section/1/a.jsonl"
    old = write(bucket, key, LINE)
    assert stage.deliver(write(bucket, key, LINE * 2)) == []
    insert_version = loading.S3Source.insert_version
    with pytest.MonkeyPatch.context() as patch:

        def too_slow(*_):
            raise UnknownOutcomeError("Code: 159. DB::Exception: Timeout exceeded")

        patch.setattr(loading.S3Source, "insert_version", too_slow)
        assert stage.deliver(old) == ["m0"]
    assert loading.S3Source.insert_version is insert_version
    inserted.clear()
    assert stage.deliver(old, *place(put, bucket, "n1")) == []
    assert inserted == [["n1"], ["a"]]


def test_what_has_an_answer_again_loads_with_its_neighbours(stage, put, bucket, inserted):
    """An object that failed in another way since then is no slow one."""
    messages = place(put, bucket, "a", "b")
    with pytest.MonkeyPatch.context() as patch:
        for kind in (UnknownOutcomeError, loading.PermanentError):

            def broken(*_, kind=kind):
                raise kind("Code: 0. DB::Exception: x")

            patch.setattr(loading.S3Source, "insert", broken)
            assert stage.deliver(*messages) == ["m0", "m1"]
    assert stage.deliver(*messages) == []
    assert inserted == [["a", "b"]]


@pytest.mark.long
def test_a_small_gzip_of_very_many_lines_does_not_hold_its_neighbour(stage, put, bucket):
    put("section/1/video/good.jsonl", LINE)
    put("section/1/video/bomb.jsonl.gz", gzip.compress(b"\n" * 120_000_000, 9, mtime=0))
    messages = [
        named(bucket, f"section/1/video/{name}") for name in ("good.jsonl", "bomb.jsonl.gz")
    ]
    assert stage.deliver(*messages, seconds=6) == ["m0", "m1"]
    assert stage.deliver(*messages, seconds=6) == ["m1"]
    assert stage.visible() == {"section/1/video/good.jsonl": 1}
