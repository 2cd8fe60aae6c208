"""The pages of a report: what they write, how they escape it, and which mistakes stop them."""

import json
import re
from datetime import UTC, datetime
from html.parser import HTMLParser
from pathlib import Path

import pytest

from loader.errors import PermanentError, SettingsError
from loader.report import charts, html, texts
from loader.report.html import embedded_json, render
from loader.report.pipeline import pipeline_page
from loader.report.places import Folder, place
from loader.report.reading import PAGES
from loader.report.scope import Scope, chosen
from loader.report.section import Options, section_page
from loader.report.tables import every_day, table
from loader.report.writing import write, write_pages
from loader.settings import Settings
from tests.helpers.report_rows import TITLES, Rehearsal, busy, nothing

OPTIONS = Options(min_group=5, names=False, made_at=datetime(2025, 12, 1, 6, tzinfo=UTC))
SECTION = Scope(2161)


class Page(HTMLParser):
    """The elements of a page and its text, without scripts and styles."""

    def __init__(self, html: str):
        super().__init__()
        self.tags: list[tuple[str, dict]] = []
        self.texts: list[str] = []
        self._skips = False
        # The parser takes a minute for a script of a megabyte.
        self.feed(re.sub(r"(<script[^>]*>).*?(</script>)", r"\1\2", html, flags=re.DOTALL))

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._skips = tag in ("script", "style")

    def handle_endtag(self, tag):
        self._skips = False

    def handle_data(self, data):
        if not self._skips:
            self.texts.append(data)

    @property
    def text(self) -> str:
        """The text with single spaces."""
        return " ".join(" ".join(self.texts).split())


@pytest.fixture(scope="module")
def section() -> str:
    return section_page(busy(), SECTION, OPTIONS)


@pytest.fixture(scope="module")
def pipeline() -> str:
    return pipeline_page(busy(), OPTIONS)


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (texts.number(1234567), "1,234,567"),
        (texts.number(7.55, 1), "7.5"),
        (texts.number(None), texts.NOTHING),
        (texts.share(0.404), "40 %"),
        (texts.share(0), "0 %"),
        (texts.share(0.004), "< 1 %"),
        (texts.share(0.999), "> 99 %"),
        (texts.share(1), "100 %"),
        (texts.clock(245), "4:05"),
        (texts.clock(3723.4), "1:02:03"),
        (texts.span(0), "0 s"),
        (texts.span(3.08), "3.1 s"),
        (texts.span(5400), "90 min"),
        (texts.span(900_000), "10 days"),
        (texts.size(1_234_567), "1.2 MB"),
        (texts.minute("2025-11-30 19:34:36.970"), "2025-11-30 19:34"),
        (texts.readable('{"input":"42","files":[]}'), "42"),
        (texts.readable('{"content":[{"children":[{"text":"Try again."}]}]}'), "Try again."),
        (texts.readable("{not JSON"), "{not JSON"),
        (texts.readable("[" * 5000), f"{'[' * 199}…"),
    ],
)
def test_numbers_times_and_answers_are_written_for_people(shown, expected):
    assert shown == expected


def test_json_in_a_page_ends_no_element_and_no_line():
    text = embedded_json({"a": "</script><!--&\u2028\u2029"})
    assert not set("<>&\u2028\u2029") & set(text)
    assert json.loads(text) == {"a": "</script><!--&\u2028\u2029"}


def test_markup_of_others_is_text(section, pipeline):
    for page_html in (section, pipeline):
        page = Page(page_html)
        assert "img" not in {tag for tag, _ in page.tags}
        assert sum(tag == "script" for tag, _ in page.tags) == 3
        assert not [name for _, attrs in page.tags for name in attrs if name.startswith("on")]
        for title in TITLES:
            assert " ".join(title.split())[:150] in page.text


def test_a_page_needs_nothing_from_elsewhere(section, pipeline):
    for page_html in (section, pipeline, render("index", place="index", made_at=NOW, sections=[])):
        page = Page(page_html)
        (policy,) = [attrs["content"] for _, attrs in page.tags if "http-equiv" in attrs]
        assert policy.startswith("default-src 'none'; script-src '")
        assert "unsafe" not in policy and "http" not in policy
        links = [attrs[name] for _, attrs in page.tags for name in ("src", "href") if name in attrs]
        assert links and all(re.fullmatch(r"(#\w+|[a-z0-9-]+\.html)", link) for link in links)
        assert not [attrs for _, attrs in page.tags if "style" in attrs]


NOW = OPTIONS.made_at


def test_every_table_says_what_it_is_and_every_head_what_it_heads(section, pipeline):
    for page_html in (section, pipeline):
        tags = Page(page_html).tags
        count = [tag for tag, _ in tags].count
        assert count("table") == count("caption") > 5
        assert all(
            attrs.get("scope") in ("row", "col", "colgroup") for tag, attrs in tags if tag == "th"
        )
        drawings = [attrs for _, attrs in tags if "data-chart" in attrs]
        assert drawings and all(attrs["aria-label"] for attrs in drawings)


def test_videos_of_a_catalogue_are_below_their_chapters(section):
    page = Page(section)
    assert (
        page.text.index("Chapter 0")
        < page.text.index("Chapter 1")
        < page.text.index("Without a chapter")
    )
    assert "In the order of the course" in page.text
    rehearsal = busy()
    for video in rehearsal.answers["section/videos"]:
        video |= {"chapter": None, "position": None}
    page = Page(section_page(rehearsal, SECTION, OPTIONS))
    assert "Chapter" not in page.text and "in which the section opened them" in page.text


def test_the_end_of_a_video_is_no_place_that_learners_leave_at(section):
    places = re.findall(r"Most leave at</dt>\s*<dd>(.*?)</dd>", section)
    assert set(places) == {"2:00", "the end"} and places.count("the end") == 1


def test_groups_that_are_too_small_are_not_broken_down():
    rehearsal = busy(learners=4)
    page = Page(section_page(rehearsal, SECTION, OPTIONS))
    assert not [attrs for _, attrs in page.tags if "aria-controls" in attrs]
    assert "fewer than 5 learners, so they are not listed" in page.text
    data = _data(section_page(rehearsal, SECTION, OPTIONS))
    assert data["tables"]["retention"] == {}
    larger = Options(min_group=4, names=False, made_at=NOW)
    assert "not listed" not in Page(section_page(rehearsal, SECTION, larger)).text


def test_learners_have_names_only_on_request(section):
    assert "0000000000" in section and f"{'0' * 31}1" in section
    named = Options(min_group=5, names=True, made_at=NOW)
    names = {row["user_id"] for row in busy().rows("section", "names")}
    page = Page(section_page(busy(titles=("Q",) * 8), SECTION, OPTIONS))
    assert not names & set(page.texts)
    assert set(TITLES) & set(Page(section_page(busy(), SECTION, named)).texts)


def test_empty_pages_say_what_to_do():
    text = Page(section_page(nothing(), SECTION, OPTIONS)).text
    for hint in ("`dbt run` brings them here", "No video was opened", "No answers to questions"):
        assert hint in text
    assert "Nothing is loaded yet" in Page(pipeline_page(Rehearsal({}), OPTIONS)).text
    index = render("index", place="index", made_at=NOW, sections=[])
    assert "xapi-elt load FILE" in Page(index).text


def test_what_does_not_add_up_is_marked(pipeline):
    page = Page(pipeline)
    assert "3 statements do not add up" in page.text
    assert [attrs for tag, attrs in page.tags if tag == "td" and "wrong" in attrs.get("class", "")]


def test_a_chart_that_names_another_column_stops_the_report():
    spec = charts.complete("section", "days")
    with pytest.raises(PermanentError) as error:
        charts.check("section", "days", spec, ["day", "kind", "number"])
    assert str(error.value) == (
        "page section, chart days: no column events; the query returns day, kind, number"
    )


WRONG = [{"mark": "bars"}, {"mark": None}, {"transform": [{"calculate": "1 +", "as": "x"}]}]


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_chart_stops_the_report(wrong):
    spec = charts.complete("section", "days") | wrong
    with pytest.raises(PermanentError, match="page section, chart days: "):
        charts.check("section", "days", spec, ["day", "kind", "events"])


def test_each_chart_has_a_query_beside_it():
    specs = list(PAGES.rglob("*.vl.json"))
    assert len(specs) >= 3
    for spec in specs:
        assert Path(str(spec).replace(".vl.json", ".sql")).exists()


def test_each_query_of_a_section_names_it():
    for path in (PAGES / "section").glob("*.sql"):
        assert "{section:UInt64}" in path.read_text(), path.name


def test_files_have_names_that_are_safe_and_different():
    courses = ["../a", "a", "A", "", "Ökologie", "x" * 300, "<b>"]
    names = [Scope(0, course).file for course in courses] + [Scope(7).file]
    assert len(set(names)) == len(names)
    assert all(re.fullmatch(r"[a-z0-9-]{1,80}\.html", name) for name in names)


def test_an_unknown_section_is_named_with_those_that_are_known():
    known = [Scope(2161), Scope(2174), Scope(0, "c")]
    assert chosen(known, [], []) == sorted(known)
    assert chosen(known, [2174], ["c"]) == [Scope(0, "c"), Scope(2174)]
    with pytest.raises(SettingsError, match="--section 7: it has no events; accepted: 2161, 2174"):
        chosen(known, [7], [])
    with pytest.raises(SettingsError, match="--course d: it has no events; accepted: c"):
        chosen(known, [], ["d"])


def test_an_update_writes_only_sections_that_changed(tmp_path):
    rehearsal, folder = busy(), Folder(tmp_path)
    first = write_pages(rehearsal, folder, OPTIONS, only_changed=True)
    assert len(first.pages) == 4
    sections = rehearsal.answers["index/sections"]
    sections[0]["fingerprint"] = "2"
    second = write_pages(rehearsal, folder, OPTIONS, only_changed=True)
    assert [Path(name).name for name in second.pages] == [
        "section-2161.html",
        "pipeline.html",
        "index.html",
    ]
    assert second.unchanged == 1
    del sections[1]
    write_pages(rehearsal, folder, OPTIONS, only_changed=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == [
        "index.html",
        "pipeline.html",
        "report.json",
        "section-2161.html",
    ]


def test_other_options_write_all_pages_again(tmp_path):
    write_pages(busy(), Folder(tmp_path), OPTIONS)
    other = Options(min_group=6, names=False, made_at=NOW)
    assert write_pages(busy(), Folder(tmp_path), other, only_changed=True).unchanged == 0


def test_a_page_that_cannot_be_written_is_an_error_with_its_path(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(PermanentError, match=r"index\.html cannot be written"):
        Folder(tmp_path / "file").write("index.html", b"")
    with pytest.raises(SettingsError, match="accepted: s3://bucket/prefix"):
        place(Settings(), "s3:///x")


def test_a_missing_package_is_named_before_anything_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(html, "find_spec", lambda name: None if name == "vl_convert" else name)
    with pytest.raises(SettingsError, match="pages need the package vl_convert"):
        write(Settings(), str(tmp_path))


def test_days_without_events_are_in_the_chart():
    rows = every_day([{"day": "2025-09-03", "n": 2}, {"day": "2025-09-01", "n": 1}], least=4)
    assert [(row["day"][-2:], row["n"]) for row in rows] == [
        ("31", 0),
        ("01", 1),
        ("02", 0),
        ("03", 2),
    ]
    assert table(rows)["columns"] == ["day", "n"]


def _data(html: str) -> dict:
    return json.loads(re.search(r'id="data">(.*?)</script>', html)[1])
