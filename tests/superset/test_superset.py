"""The bundle in a real Superset: imported, and each chart's data compared with the mart."""

import json
from datetime import UTC, datetime
from typing import Any

import pytest
import yaml

from tests.superset.expected import EXPECTED
from tests.superset.stage import BUNDLE

SECTION = 2161
# Its title has quotes, dashes and a backslash.
VIDEO = "https://cdn.example.org/media/1719001/part-1.mp4"


@pytest.fixture(scope="session")
def charts(superset) -> dict[str, dict[str, Any]]:
    """The imported charts by the name of their file."""
    names = {
        yaml.safe_load(path.read_text())["uuid"]: path.stem
        for path in (BUNDLE / "charts").glob("*.yaml")
    }
    return {names[chart["uuid"]]: chart for chart in superset.listed("chart")}


@pytest.fixture(scope="session")
def dashboards(superset) -> dict[str, dict[str, Any]]:
    """The imported dashboards by their slug."""
    listed = superset.listed("dashboard")
    return {one["slug"]: superset.call("GET", f"dashboard/{one['id']}")["result"] for one in listed}


@pytest.fixture(scope="session")
def label(marts) -> str:
    """The video, as the filter of the dashboard shows it."""
    (row,) = marts.query(
        "select title from xapi.dim_videos"
        " where section_id = {section:UInt64} and video_key = {video:String}",
        section=SECTION,
        video=VIDEO,
    )
    return f"{row['title']} ({VIDEO})"


def filters_of(dashboard: dict[str, Any]) -> list[dict[str, Any]]:
    """The filters of a dashboard."""
    return json.loads(dashboard["json_metadata"])["native_filter_configuration"]


def chosen(chart: dict[str, Any], dashboards: dict[str, Any], label: str) -> list[dict[str, Any]]:
    """What the filters of the chart's dashboard add to its query, section and video chosen."""
    values = {"section_id": SECTION, "video": label}
    (dashboard,) = (
        one for one in dashboards.values() if f'"chartId": {chart["id"]},' in one["position_json"]
    )
    columns = [
        one["targets"][0]["column"]["name"]
        for one in filters_of(dashboard)
        if chart["id"] not in one["scope"]["excluded"]
    ]
    return [{"col": name, "op": "IN", "val": [values[name]]} for name in columns if name in values]


def query_of(params: dict[str, Any]) -> dict[str, Any]:
    """The query of a chart, as Superset's pages make it from the chart's parameters."""
    axes = [params[name] for name in ("x_axis", "groupby") if isinstance(params.get(name), str)]
    query = {
        "columns": params.get("all_columns", axes),
        "filters": [
            {"col": one["subject"], "op": one["operator"], "val": one["comparator"]}
            for one in params["adhoc_filters"]
        ],
        "orderby": [json.loads(one) for one in params.get("order_by_cols", [])],
    }
    if "row_limit" in params:
        query["row_limit"] = params["row_limit"]
    if params["viz_type"] != "table":
        query["metrics"] = params.get("metrics") or [params["metric"]]
    return query


def as_superset_says(row: dict[str, Any]) -> dict[str, Any]:
    """A row of ClickHouse, with times as the milliseconds that Superset sends."""
    return {
        name: datetime.fromisoformat(value).replace(tzinfo=UTC).timestamp() * 1000
        if value and (name == "day" or name.endswith("_at"))
        else value
        for name, value in row.items()
    }


def in_order(rows: list[dict[str, Any]], sql: str) -> list[dict[str, Any]]:
    """The rows; sorted here if the chart sorts them when it draws them."""
    if "order by" in sql:
        return rows
    return sorted(rows, key=lambda row: [row[name] for name in sorted(row)])


def nearly(row: dict[str, Any]) -> dict[str, Any]:
    """The row, equal to one whose sums were added up in another order."""
    return {
        name: pytest.approx(value, rel=1e-9) if isinstance(value, float) else value
        for name, value in row.items()
    }


def test_there_is_a_chart_for_each_expectation(charts):
    assert set(charts) == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_a_chart_shows_what_the_mart_says(name, superset, marts, charts, dashboards, label):
    chart, sql = charts[name], EXPECTED[name]
    query = query_of(json.loads(chart["params"]))
    query["filters"] += chosen(chart, dashboards, label)
    shown = superset.rows(chart["datasource_id"], query)
    expected = [as_superset_says(row) for row in marts.query(sql, section=SECTION, video=VIDEO)]
    assert expected
    assert in_order(shown, sql) == [nearly(row) for row in in_order(expected, sql)]


def test_a_dashboard_offers_the_sections_newest_first(superset, marts, dashboards):
    (section,) = (one for one in filters_of(dashboards["xapi-section"]) if one["name"] == "Section")
    assert section["requiredFirst"]
    (target,), metric = section["targets"], section["sortMetric"]
    query = {"columns": ["section_id"], "metrics": [metric], "orderby": [[metric, False]]}
    offered = superset.rows(target["datasetId"], query)
    expected = marts.query(
        "select section_id, max(day) as day from xapi.fct_section_days group by section_id"
    )
    assert sorted(row["section_id"] for row in offered) == sorted(
        row["section_id"] for row in expected
    )
    days = [row[metric] for row in offered]
    assert days == sorted(days, reverse=True)


def test_no_video_is_shown_before_one_is_chosen(superset, charts, dashboards):
    (video,) = (one for one in filters_of(dashboards["xapi-videos"]) if one["name"] == "Video")
    (condition,) = video["defaultDataMask"]["extraFormData"]["adhoc_filters"]
    chart = charts["video_retention"]
    query = query_of(json.loads(chart["params"]))
    query["extras"] = {"where": f"({condition['sqlExpression']})"}
    assert superset.rows(chart["datasource_id"], query) == []


def test_another_import_replaces_charts_and_keeps_the_connection(superset, bundle, charts):
    (database,) = superset.listed("database")
    connection = superset.call("GET", f"database/{database['id']}/connection")["result"]
    chart = charts["section_pages"]
    superset.call("PUT", f"chart/{chart['id']}", json={"slice_name": "Changed"})
    for kind in ("dataset", "chart", "dashboard"):
        superset.upload(kind, bundle)
    after = {one["id"]: one["slice_name"] for one in superset.listed("chart")}
    assert after == {one["id"]: one["slice_name"] for one in charts.values()}
    (database,) = superset.listed("database")
    after = superset.call("GET", f"database/{database['id']}/connection")["result"]
    assert after["sqlalchemy_uri"] == connection["sqlalchemy_uri"] != ""
