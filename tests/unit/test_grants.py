"""The SQL of the roles: what it has and lacks, and that the documents show it as it is."""

import re

import pytest
from typer.testing import CliRunner

from loader.cli.main import app
from loader.errors import SettingsError
from loader.grants import IDENTIFIERS, LEARNERS, LINES, ROLES, marts, statements
from loader.settings import Settings
from tests.helpers.paths import ROOT
from tests.helpers.secrets import MARK, PASSWORD

SETTINGS = Settings(target="server", home=str(ROOT))
SHOWN = re.compile(r"```sh\nxapi-elt (grants [^\n]+)\n```\n\n```sql\n(.*?)```", re.DOTALL)
PAGES = {
    (page.name, arguments): text
    for page in (ROOT / "docs").glob("*.md")
    for arguments, text in SHOWN.findall(page.read_text())
}


def printed(arguments: str, monkeypatch) -> list[str]:
    """The lines that the command prints for a server."""
    monkeypatch.setenv("XAPI_TARGET", "server")
    return CliRunner().invoke(app, arguments.split()).output.splitlines()


@pytest.mark.parametrize(("page", "arguments"), PAGES)
def test_a_page_shows_what_the_command_prints(page, arguments, monkeypatch):
    """`…` stands for what is left out: lines, or the rest of a line."""
    lines = printed(arguments, monkeypatch)
    for line in PAGES[page, arguments].splitlines():
        if line == "…":
            continue
        pattern = re.escape(line).replace("…", ".*")
        while lines and not re.fullmatch(pattern, lines[0]):
            lines.pop(0)
        assert lines, line
        lines.pop(0)


def test_the_pages_show_loader_dbt_and_analyst():
    roles = {re.search(r"--role (\w+)", arguments)[1] for _, arguments in PAGES}
    assert {"loader", "dbt", "operator", "analyst"} <= roles


@pytest.mark.parametrize("role", ROLES)
def test_a_role_has_a_policy_a_profile_and_no_password(role):
    settings = Settings(
        target="server", home=str(ROOT), password=PASSWORD, dbt_password=f"x-{MARK}"
    )
    found = statements(role, settings)
    assert found[0] == f"create role if not exists `xapi_{role}`"
    assert [one for one in found if one.startswith("create row policy")]
    assert [one for one in found if one.startswith("create settings profile")]
    assert "never-shown" not in "".join(found) and "identified" not in "".join(found)


def test_names_come_from_the_settings_and_are_quoted():
    cluster = Settings(target="cluster", home=str(ROOT), database="a", cluster="c-1")
    first, second, *_ = statements("loader", cluster)
    assert first == "create role if not exists `a_loader` on cluster `c-1`"
    assert second == "grant on cluster `c-1` select, insert on `a_raw`.* to `a_loader`"
    assert "named collection on `xapi_s3`" in "".join(statements("loader", SETTINGS))
    role = Settings(target="server", s3_role_arn="arn:aws:iam::123456789012:role/x")
    assert "named collection" not in "".join(statements("loader", role))


def test_an_analyst_gets_the_marts_of_dbt_without_identifiers():
    found = statements("analyst", SETTINGS)
    views = {name: sql for sql in found for name in re.findall(r"view `xapi_analyst`.`(\w+)`", sql)}
    people = {mart.name for mart in marts(ROOT) if mart.for_people}
    assert set(views) == people - {LINES, LEARNERS} and "video_events" in views
    text = "\n".join(found)
    assert not [column for column in (*IDENTIFIERS, "line") if f"`{column}`" in text]
    assert "xapi_raw" not in text and "int_xapi__statements" not in text
    assert "`learner_id`" in views["video_events"]


def test_an_analyst_of_sections_has_a_policy_on_every_table(monkeypatch):
    found = statements("analyst", SETTINGS, of_sections=True)
    policies = [one for one in found if one.startswith("create row policy")]
    tables = sum(mart.is_table for mart in marts(ROOT) if mart.name != LINES)
    assert len(policies) == tables + 1
    assert "`analyst_sections` using user_name = currentUser() to" in policies.pop()
    for policy in policies:
        assert " using (section_id, if(section_id = 0, course_id, '')) in (select" in policy
        assert policy.endswith(" to `xapi_analyst_sections`")
    # What has no section is not granted, and which sections a user sees is data.
    text = "\n".join(found)
    assert LEARNERS not in text
    lines = "\n".join(printed("grants --role analyst --section 7 --course c'd", monkeypatch))
    assert text.replace(";", "") in lines.replace(";", "")
    assert "-- insert into `xapi_analyst`.`analyst_sections`" in lines
    assert "values ('<name>', 7, '')" in lines and "values ('<name>', 0, 'c\\'d')" in lines


def test_wrong_arguments_are_named():
    with pytest.raises(SettingsError, match="--role is 'admin'; accepted: loader, dbt"):
        statements("admin", SETTINGS)
    with pytest.raises(SettingsError, match="belong to --role analyst"):
        statements("loader", SETTINGS, of_sections=True)
