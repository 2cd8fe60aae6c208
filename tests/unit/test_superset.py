"""The Superset bundle names models and columns that exist, and explains what it shows."""

import re
from functools import cache
from typing import Any

import pytest
import yaml

from tests.helpers.paths import ROOT

BUNDLE = ROOT / "dbt_project" / "superset"


@cache
def read(kind: str) -> dict[str, dict[str, Any]]:
    """The files of a kind (datasets, charts, dashboards) by their name."""
    paths = sorted((BUNDLE / kind).rglob("*.yaml"))
    return {path.stem: yaml.safe_load(path.read_text()) for path in paths}


@cache
def models() -> dict[str, dict[str, str | None]]:
    """The columns of each model with their types; operations' pages name no types."""
    pages = (ROOT / "dbt_project" / "models").rglob("*.yml")
    return {
        model["name"]: {one["name"]: one.get("data_type") for one in model["columns"]}
        for page in pages
        for model in yaml.safe_load(page.read_text()).get("models", [])
    }


def by_uuid(kind: str) -> dict[str, dict[str, Any]]:
    """The same by their id."""
    return {one["uuid"]: one for one in read(kind).values()}


def columns_of(dataset: dict[str, Any]) -> set[str]:
    """The names of a dataset's columns."""
    return {column["column_name"] for column in dataset["columns"]}


def sources_of(dataset: dict[str, Any]) -> dict[str, tuple[str, str]]:
    """Where each column of a dataset comes from: model and column."""
    if "sql" not in dataset:
        return {name: (dataset["table_name"], name) for name in columns_of(dataset)}
    found = re.findall(r"(\w+)\.(\w+) as (\w+)", dataset["sql"])
    return {name: (model, column) for model, column, name in found}


def fields_of(chart: dict[str, Any]) -> set[str]:
    """The columns that a chart names."""
    params = chart["params"]
    axes = {params[name] for name in ("x_axis", "groupby") if isinstance(params.get(name), str)}
    filtered = {one["subject"] for one in params["adhoc_filters"]}
    sorted_by = {yaml.safe_load(one)[0] for one in params.get("order_by_cols", [])}
    formatted = {*params.get("column_config", {})} | {
        one["column"] for one in params.get("conditional_formatting", [])
    }
    assert formatted <= {*params.get("all_columns", [])}
    return {*params.get("all_columns", [])} | axes | filtered | sorted_by


def metrics_of(chart: dict[str, Any]) -> set[str]:
    """The metrics that a chart names."""
    params = chart["params"]
    return {*params.get("metrics", []), *([params["metric"]] if "metric" in params else [])}


@pytest.mark.parametrize("name", read("datasets"))
def test_a_dataset_has_columns_of_models_with_their_types(name):
    dataset = read("datasets")[name]
    sources = sources_of(dataset)
    for column in dataset["columns"]:
        if column["column_name"] == "video" and "sql" in dataset:
            continue  # the label of a video, which the dataset's SQL makes
        model, source = sources[column["column_name"]]
        assert source in models()[model], f"{name}: {model} has no column {source}"
        assert column["type"] == (models()[model][source] or column["type"]), (name, source)
        assert "Array" not in column["type"], f"{name}: Superset cannot draw {source}"
        assert column["verbose_name"]


@pytest.mark.parametrize("name", [name for name, one in read("datasets").items() if "sql" in one])
def test_the_sql_of_a_dataset_names_columns_of_models(name):
    sql = read("datasets")[name]["sql"]
    named = re.findall(r"\b((?:fct|dim|ops)_\w+)\.(\w+)", sql)
    assert named
    assert [one for one in named if one[1] not in models()[one[0]]] == []


@pytest.mark.parametrize("name", read("datasets"))
def test_metrics_are_made_of_the_columns_of_their_dataset(name):
    dataset = read("datasets")[name]
    for metric in dataset["metrics"]:
        expression = re.sub(r"'[^']*'", "", metric["expression"])
        words = set(re.findall(r"\b[a-z]\w*\b(?!\()", expression))
        assert words <= columns_of(dataset), metric


@pytest.mark.parametrize("name", read("charts"))
def test_a_chart_names_columns_and_metrics_of_its_dataset(name):
    chart = read("charts")[name]
    dataset = by_uuid("datasets")[chart["dataset_uuid"]]
    assert chart["viz_type"] == chart["params"]["viz_type"]
    assert fields_of(chart) <= columns_of(dataset)
    assert metrics_of(chart) <= {metric["metric_name"] for metric in dataset["metrics"]}
    assert chart["slice_name"] and chart["description"]


def test_every_dataset_is_on_a_chart_and_every_chart_on_one_dashboard():
    assert {chart["dataset_uuid"] for chart in read("charts").values()} == {*by_uuid("datasets")}
    placed = [
        item["meta"]["uuid"]
        for dashboard in read("dashboards").values()
        for item in dashboard["position"].values()
        if isinstance(item, dict) and item["type"] == "CHART"
    ]
    assert sorted(placed) == sorted(by_uuid("charts"))


@pytest.mark.parametrize("name", read("dashboards"))
def test_the_filters_of_a_dashboard_are_columns_of_the_charts_that_they_filter(name):
    dashboard = read("dashboards")[name]
    charts = {
        item["meta"]["chartId"]: by_uuid("charts")[item["meta"]["uuid"]]
        for item in dashboard["position"].values()
        if isinstance(item, dict) and item["type"] == "CHART"
    }
    filters = dashboard["metadata"]["native_filter_configuration"]
    assert "Section" in [one["name"] for one in filters]
    for one in filters:
        (target,) = one["targets"]
        column = target["column"]["name"]
        source = by_uuid("datasets")[target["datasetUuid"]]
        assert column in columns_of(source)
        metrics = {metric["metric_name"] for metric in source["metrics"]}
        assert one.get("sortMetric") in {None, *metrics}
        filtered = [charts[number] for number in charts if number not in one["scope"]["excluded"]]
        for chart in filtered:
            assert column in columns_of(by_uuid("datasets")[chart["dataset_uuid"]]), chart


def test_what_a_view_is_is_said_where_views_are_shown():
    said = "session in which"
    for name in ("section", "videos"):
        text = read("dashboards")[name]["position"]["MARKDOWN-about"]["meta"]["code"]
        assert said in text
    for name in ("section_views", "videos"):
        assert said in read("charts")[name]["description"]
    (views,) = (
        one for one in read("datasets")["videos"]["columns"] if one["column_name"] == "views"
    )
    assert said in views["description"]


def test_no_chart_shows_a_single_learner():
    shown = {name for name, chart in read("charts").items() if "learner_id" in fields_of(chart)}
    assert shown == set()


def test_the_bundle_has_no_credentials():
    (database,) = read("databases").values()
    assert re.fullmatch(r"clickhousedb://localhost:\d+/xapi", database["sqlalchemy_uri"])
    assert not {"password", "encrypted_extra", "masked_encrypted_extra"} & {*database}
    assert not database["allow_dml"]
