"""The pages of a report, from the database: their figures, their texts and their size."""

import io
import json
import os
import re
import subprocess
import sys
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import boto3
import pytest

from loader.errors import PermanentError, SettingsError
from loader.log import Log
from loader.pipeline import Pipeline
from loader.report import charts
from loader.report.keeping import Keeper
from loader.report.reading import PAGES, open_reader
from loader.report.scope import Scope
from loader.report.section import POINTS, Options, section_page
from loader.report.texts import number, share
from loader.report.writing import write
from loader.settings import Settings
from tests.helpers.report_rows import TITLES
from tests.helpers.small_database import SmallDatabase

# Each learner plays some of each video, from 0 to a place of their own; every third rewatches.
LEARNER_VIDEOS = """
insert into xapi.int_learner_videos (
    section_id, learner_id, video_key, events, events_hash, sessions, plays, plays_without_end,
    starts, first_at, last_at, pieces, seconds_seen, seconds_played, seconds_rewatched, version
)
select
    9000,
    lower(hex(MD5(toString(number % {learners})))),
    concat('https://example.org/', toString(intDiv(number, {learners}))),
    4, number, 1, 2, number % 7 = 0, 1, '2025-10-06 09:00:00', '2025-10-06 10:00:00',
    [
        (0., 10. + cityHash64(number) % 40000 / 100, 1),
        (450. + cityHash64(number, 1) % 5000 / 100, 500. + cityHash64(number, 2) % 10000 / 100, 2)
    ] as found,
    arraySum(piece -> piece.2 - piece.1, found) as seen,
    arraySum(piece -> (piece.2 - piece.1) * piece.3, found) as played,
    played - seen,
    1
from numbers({learners} * {videos})
"""

# One event of each learner and one of each video.
EVENTS = """
insert into xapi.video_events (
    event_id, timestamp, verb, user_id, learner_id, section_id, video_url, video_title,
    video_length, load_id, loaded_at
)
select
    generateUUIDv4(), '2025-10-06 09:00:00', 'played', concat('user ', toString(number)),
    lower(hex(MD5(toString(number % {learners})))), 9000,
    concat('https://example.org/', toString(number % {videos})),
    {titles}[number % {videos} % 8 + 1], 600,
    (select any(load_id) from xapi.video_events), now()
from numbers(greatest({learners}, {videos}))
"""


def add_section(database: SmallDatabase, learners: int, videos: int) -> None:
    """Add section 9000 to what the marts read."""
    titles = json.dumps(TITLES, ensure_ascii=False)
    titles = (
        "[" + ", ".join(f"unhex('{title.encode().hex()}')" for title in json.loads(titles)) + "]"
    )
    for statement in (LEARNER_VIDEOS, EVENTS):
        filled = statement.replace("{learners}", str(learners)).replace("{videos}", str(videos))
        database.change(filled.replace("{titles}", titles))


def settings(database: SmallDatabase, min_group: int = 5) -> Settings:
    """The settings of a database, which is closed for the report."""
    database.close()
    return Settings(chdb_path=str(database.folder / "clickhouse"), report_min_group=min_group)


def page_of(database: SmallDatabase, section: int, **options) -> str:
    """A section's page as text without scripts."""
    made = Options(**{"min_group": 5, "names": False, "made_at": datetime.now(UTC)} | options)
    with open_reader(settings(database)) as reader:
        return section_page(reader, Scope(section), made)


def test_the_built_database_makes_pages(built_database, tmp_path):
    written = write(settings(built_database), str(tmp_path))
    assert [Path(name).name for name in written.pages] == [
        "section-2161.html",
        "pipeline.html",
        "index.html",
    ]
    section, pipeline, index = (Path(name).read_text() for name in written.pages)
    (learners,) = built_database.query(
        "select uniqExact(learner_id) as n, sum(minutes_played) as minutes "
        "from xapi.fct_learner_activity where section_id = 2161"
    )
    assert figure(section, "Learners") == number(learners["n"])
    assert figure(section, "Minutes played") == number(learners["minutes"])
    (total,) = built_database.query("select * from xapi.ops_statement_balance where family = 'all'")
    assert figure(pipeline, "Lines") == number(total["lines"])
    assert figure(pipeline, "Rejected") == number(total["rejected"])
    assert "Every statement is accounted for." in pipeline
    assert "access denied" in pipeline
    assert 'href="section-2161.html"' in index


def test_every_chart_fits_its_query(built_database):
    values = {"section": 2161, "course": "", "points": POINTS}
    with open_reader(settings(built_database)) as reader:
        for path in PAGES.rglob("*.vl.json"):
            page, name = path.parent.name, path.name.removesuffix(".vl.json")
            charts.chart(page, name, reader.columns(page, name, **values))


def test_the_figures_of_a_section_are_those_of_the_marts(database):
    add_section(database, learners=60, videos=9)
    html = page_of(database, 9000)
    videos = database.query(
        """
        select v.*, d.title
        from xapi.fct_videos as v
        inner join xapi.dim_videos as d
            on v.section_id = d.section_id and v.video_key = d.video_key
        where section_id = 9000 order by d.first_at, video_key
        """
    )
    shown = re.findall(r'<tr class="video can-open">(.*?)</tr>', html, re.DOTALL)
    assert len(shown) == len(videos) == 9
    for row, video in zip(shown, videos, strict=True):
        assert re.findall(r'class="n[^"]*">(.*?)</td>', row) == [
            number(video["learners"]),
            number(video["watched"]),
            share(video["mean_share_seen"]).replace("<", "&lt;").replace(">", "&gt;"),
            number(video["views"]),
            number(video["minutes_played"]),
        ]
    assert figure(html, "Views of videos") == number(sum(video["views"] for video in videos))
    with Pipeline(settings(database)) as pipeline:
        answer = pipeline.question("completion", section=9000).set_index("video_key")
    for row, video in zip(shown, videos, strict=True):
        said = answer.loc[video["video_key"]]
        assert re.findall(r'class="n[^"]*">(.*?)</td>', row)[:2] == [
            number(int(said["learners"])),
            number(int(said["watched"])),
        ]

    data = json.loads(re.search(r'id="data">(.*?)</script>', html)[1])["tables"]
    for place, video in enumerate(videos):
        key = video["video_key"]
        for second, viewers, repeats in data["retention"][str(place)]["rows"]:
            (mart,) = database.query(
                f"""
                select argMax(viewers, place) as viewers, argMax(repeats, place) as repeats
                from xapi.fct_video_retention
                where section_id = 9000 and video_key = '{key}' and place <= {second}
                """
            )
            assert (viewers, repeats) == (mart["viewers"], mart["repeats"])
        if place == 1:
            break


def test_learners_have_names_only_on_request(database):
    add_section(database, learners=6, videos=1)
    learner = database.query("select learner_id from xapi.dim_learners where user_id = 'user 1'")
    identifier = learner[0]["learner_id"]
    html = page_of(database, 9000)
    assert identifier[:10] in html and "user 1" not in html
    named = page_of(database, 9000, names=True)
    assert "<bdi>user 1</bdi>" in named and identifier not in named


@pytest.mark.long
def test_a_large_section_is_a_page_below_three_megabytes(database):
    add_section(database, learners=3000, videos=200)
    html = page_of(database, 9000)
    assert html.count('<tr class="video can-open">') == 200
    assert figure(html, "Learners") == "3,000"
    assert len(html.encode()) < 3_000_000


def test_a_section_without_events_is_an_error_that_names_those_with(built_database, tmp_path):
    with pytest.raises(SettingsError, match="--section 7: it has no events; accepted: 2161"):
        write(settings(built_database), str(tmp_path / "out"), sections=[7])
    assert not (tmp_path / "out").exists()


def test_a_database_without_marts_is_an_error_that_says_what_to_do(warehouse, tmp_path):
    warehouse.close()
    with pytest.raises(SettingsError, match="run `dbt run`"):
        write(Settings.from_env(), str(tmp_path / "out"))


def test_a_query_that_fails_is_named(database):
    database.change("drop view xapi.fct_pages")
    with pytest.raises(PermanentError, match=r"^page section, query overview: .*fct_pages"):
        page_of(database, 2161)


def test_a_report_changes_nothing(built_database):
    with (
        open_reader(settings(built_database)) as reader,
        pytest.raises(Exception, match="readonly"),
    ):
        reader._warehouse.command("create table not_allowed (n Int8) engine = Memory")


def test_the_worker_updates_only_what_changed(database, tmp_path):
    add_section(database, learners=6, videos=1)
    output = io.StringIO()
    keeper = Keeper(settings(database), str(tmp_path), Log(stream=output))
    pages = {"index.html", "pipeline.html"}

    def updated() -> set[str]:
        before = {path.name: path.stat().st_ino for path in tmp_path.glob("*.html")}
        assert keeper.update()
        after = {path.name: path.stat().st_ino for path in tmp_path.glob("*.html")}
        return {name for name, file in after.items() if before.get(name) != file}

    assert updated() == pages | {"section-2161.html", "section-9000.html"}
    assert updated() == pages
    add_section(database, learners=7, videos=1)
    database.close()
    assert updated() == pages | {"section-9000.html"}
    assert [json.loads(line)["unchanged"] for line in output.getvalue().splitlines()] == [0, 2, 1]


def test_an_update_that_fails_is_logged_and_leaves_the_worker_alone(chdb_path, warehouse):
    warehouse.close()
    output = io.StringIO()
    assert not Keeper(Settings.from_env(), "s3://gone", Log(stream=output)).update()
    assert json.loads(output.getvalue())["event"] == "report_failed"


@pytest.mark.long
def test_pages_in_s3_are_html_of_their_bucket(built_database, bucket):
    where = replace(settings(built_database), s3_endpoint=os.environ["AWS_ENDPOINT_URL"])
    written = write(where, f"s3://{bucket}/pages/", only_changed=True)
    assert written.index == f"s3://{bucket}/pages/index.html"
    client = boto3.client("s3")
    head = client.head_object(Bucket=bucket, Key="pages/section-2161.html")
    assert head["ContentType"] == "text/html; charset=utf-8"
    assert write(where, f"s3://{bucket}/pages", only_changed=True).unchanged == 1
    with pytest.raises(SettingsError, match="s3://no-such-bucket/"):
        write(where, "s3://no-such-bucket/pages")


def test_the_command_says_what_it_wrote_or_what_is_wrong(built_database, tmp_path):
    built_database.close()
    environment = os.environ | {"XAPI_CHDB_PATH": str(built_database.folder / "clickhouse")}

    def report(*arguments: str) -> subprocess.CompletedProcess:
        command = [Path(sys.executable).with_name("xapi-elt"), "report", *arguments]
        return subprocess.run(command, env=environment, capture_output=True, text=True, timeout=120)

    done = report("--out", str(tmp_path), "--json")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["index"] == str(tmp_path / "index.html")
    wrong = report("--section", "7", "--json")
    assert wrong.returncode == 2
    assert json.loads(wrong.stdout)["error"].startswith("--section 7: it has no events")


def figure(html: str, label: str) -> str:
    """The value of a key figure."""
    return re.search(rf"<dt>{label}</dt><dd>([^<]*?) ?<", html)[1]
