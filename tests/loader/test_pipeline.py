"""The Python API, as a data scientist calls it; and the notebook that shows it."""

from collections import Counter
from datetime import date

import pytest

from loader.errors import LoaderError, PermanentError, SettingsError
from loader.pipeline import Pipeline
from tests.helpers.bulk_lake import LINE, fill, key_of
from tests.helpers.paths import ROOT

NOTEBOOK = ROOT / "notebooks" / "backfill.ipynb"

TYPES = """
select
    number as id,
    {name:String} as name,
    toDateTime64('2025-09-01 12:00:00', 3, 'UTC') as time,
    if(number = 1, null, number / 2) as score
from numbers({rows:UInt64})
"""

LEDGER_ROWS = "select count() as rows from {raw:Identifier}.loads"


@pytest.fixture
def lake(bucket, chdb_path) -> str:
    """Three objects of two sections; the URI of their folder."""
    fill(bucket, {key_of(section, "2025-09-01"): LINE for section in (1, 2, 3)})
    return f"s3://{bucket}/section/"


def test_plan_load_compare_and_query(lake, bucket, tmp_path):
    (tmp_path / "local.jsonl").write_bytes(LINE)
    with Pipeline.from_env() as pipeline:
        plan = pipeline.plan(lake, section_ids=[1, "2"], start_date=date(2025, 9, 1))
        assert (plan.found, plan.held, plan.count) == (2, 0, 2)
        assert [item.key for item in plan.objects()] == [key_of(n, "2025-09-01") for n in (1, 2)]

        seen = []
        summary = pipeline.backfill(plan, on_progress=lambda now: seen.append(now.done))
        assert (summary.counts, summary.rows, summary.complete) == ({"committed": 2}, 2, True)
        assert seen == [2]
        # A plan is fixed; done a second time it finds everything there.
        assert pipeline.backfill(plan).counts == {"skipped": 2}

        comparison = pipeline.reconcile(lake)
        assert comparison.counts == {"missing": 1}
        assert [one.object for one in comparison.differences] == [f"{lake}3/video/2025-09-01T00-00"
            "-00.123456Z_0CC1.jsonl"]  # fmt: skip
        pipeline.backfill(comparison.to_load)
        assert pipeline.reconcile(lake).agrees

        summary = pipeline.load(f"s3://{bucket}/nowhere.jsonl", tmp_path / "local.jsonl")
        assert summary.counts == Counter(committed=1, failed=1)
        assert not summary.complete

        frame = pipeline.query_df(
            "select bucket = '' as is_local, count() as n from {raw:Identifier}.statements "
            "where line = {line:String} group by is_local order by is_local",
            line=LINE.decode(),
        )
        assert frame.to_dict("list") == {"is_local": [0, 1], "n": [3, 1]}
        assert pipeline.status().ledger[0]["objects"] == 4
        assert pipeline.gc(age=0, dry_run=True).lines == 0


def test_a_frame_has_types_and_values_stay_values(chdb_path):
    name = "o'brien {x} \\ -- 日本"
    with Pipeline.from_env() as pipeline:
        frame = pipeline.query_df(TYPES, name=name, rows=2)
        assert frame["name"].tolist() == [name, name]
        assert frame["time"].dt.year.tolist() == [2025, 2025]
        assert frame["score"].isna().tolist() == [False, True]
        assert frame["id"].sum() == 1
        # Without rows there are columns all the same.
        empty = pipeline.query_df(TYPES, name=name, rows=0)
        assert (list(empty.columns), len(empty)) == (["id", "name", "time", "score"], 0)


def test_an_error_in_a_query_is_ours_and_leaves_the_connection_clean(chdb_path):
    with Pipeline.from_env() as pipeline:
        with pytest.raises(PermanentError, match="is non-zero"):
            pipeline.query_df("select throwIf(number = 70000) as x from numbers(100000)")
        assert pipeline.query_df("select 7 as x")["x"].tolist() == [7]


def test_nothing_is_opened_before_it_is_used(chdb_path):
    with Pipeline.from_env() as pipeline:
        for call in (
            lambda: pipeline.plan("lake"),
            lambda: pipeline.plan("s3://not-allowed/"),
            lambda: pipeline.load("no/such/file.jsonl"),
            lambda: pipeline.load("x.jsonl", policy="merge"),
        ):
            with pytest.raises(SettingsError):
                call()
    assert not chdb_path.exists()


def test_a_closed_pipeline_opens_again(lake):
    pipeline = Pipeline.from_env()
    pipeline.init()
    pipeline.close()
    pipeline.close()
    assert pipeline.plan(lake).count == 3
    pipeline.close()


def test_settings_may_be_given(chdb_path):
    with pytest.raises(LoaderError, match="XAPI_TARGET"):
        Pipeline.from_env({"XAPI_TARGET": "cloud"})
    with Pipeline.from_env(
        {"XAPI_CHDB_PATH": str(chdb_path), "CLICKHOUSE_DATABASE": "other"}
    ) as it:
        assert "table other_raw.loads" in it.init()


@pytest.mark.long
def test_the_notebook_runs_from_top_to_bottom(tmp_path, monkeypatch):
    nbformat = pytest.importorskip("nbformat")
    nbclient = pytest.importorskip("nbclient")
    monkeypatch.setenv("XAPI_CHDB_PATH", str(tmp_path / "clickhouse"))
    monkeypatch.setenv("DBT_TARGET_PATH", str(tmp_path / "target"))
    monkeypatch.setenv("DBT_LOG_PATH", str(tmp_path / "logs"))
    monkeypatch.delenv("MPLBACKEND", raising=False)
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    assert not any(cell.get("outputs") for cell in notebook.cells), "clear the outputs"
    nbclient.NotebookClient(
        notebook, timeout=120, resources={"metadata": {"path": str(NOTEBOOK.parent)}}
    ).execute()
    outputs = [output for cell in notebook.cells for output in cell.get("outputs", ())]
    text = "".join(output.get("text", "") for output in outputs)
    assert "listing, ledger and rows agree: True" in text
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 2


def test_a_bucket_that_is_not_allowed_leaves_nothing_in_the_ledger(lake):
    with Pipeline.from_env() as pipeline:
        with pytest.raises(SettingsError, match="bucket 'other' is not allowed"):
            pipeline.load(f"{lake}{key_of(1, '2025-09-01')}", "s3://other/a.jsonl")
        pipeline.init()
        assert pipeline.warehouse.query(LEDGER_ROWS) == [{"rows": 0}]
