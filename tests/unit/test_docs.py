"""The documents name commands, options, make targets and files that exist."""

import re
import shlex
import subprocess
import sys
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
import typer
import yaml
from dbt.cli.main import cli as dbt

from loader import questions
from loader.cli.main import app
from tests.helpers.paths import ROOT

README = (ROOT / "README.md").read_text()
COMMANDS = ROOT / "docs" / "commands.md"
GUIDES = [
    ROOT / "README.md",
    ROOT / "CONTRIBUTING.md",
    *sorted(page for page in (ROOT / "docs").rglob("*.md") if page != COMMANDS),
]
PAGES = [
    *GUIDES,
    COMMANDS,
    ROOT / "CHANGELOG.md",
    *sorted((ROOT / "bench").glob("*.md")),
    *sorted((ROOT / "dbt_project").rglob("*.md")),
]
RECORDS = sorted((ROOT / "docs" / "decisions").glob("[0-9]*.md"))

# What docs/commands.md is made with; the same in CONTRIBUTING.md.
GENERATE = (
    "typer loader.cli.main utils docs --name xapi-elt "
    '--title "Commands of xapi-elt" --output docs/commands.md'
)

XAPI_ELT = typer.main.get_command(app)
MAKEFILE = (ROOT / "Makefile").read_text()
DBT_VARIABLES = yaml.safe_load((ROOT / "dbt_project.yml").read_text())["vars"]
MODELS = {path.stem for path in (ROOT / "dbt_project").rglob("*.sql")}

# A command at the start of a line, after a prompt, settings or another command.
SHOWN = re.compile(r"^\s*(?:\$ )?(?:[A-Z_]+=\S+ )*(?:.*(?:&&|\|\|) )?((?:xapi-elt|dbt|make) .*)$")


def name(page: Path) -> str:
    """A page's path, for the name of a test."""
    return str(page.relative_to(ROOT))


def shown_commands(text: str) -> list[str]:
    """The commands of a page: lines of its code blocks, and code within its sentences."""
    blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    lines = [line for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    prose = re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)
    lines += re.findall(r"`([^`\n]+)`", prose)
    found = (SHOWN.match(line) for line in lines)
    # An explanation follows after two spaces, another command after && or |.
    return [re.split(r"\s{2,}(?!-)|\s#|&&|\||;", match[1])[0].strip() for match in found if match]


def words(command: str) -> list[str]:
    """A shown command in words; what is in quotes is one, an omission is none."""
    parts = re.findall(r"""(?:"[^"]*"|'[^']*'|[^\s"'])+""", command)
    return [part for part in parts if part not in ("…", "...")]


def options(*commands: object) -> set[str]:
    """The options that click commands take."""
    params = [param for one in commands for param in one.params]
    return {opt for param in params if param.param_type_name == "option" for opt in param.opts}


def wrong_words(command: str) -> list[str]:
    """What a shown command names and does not exist."""
    program, *rest = words(command)
    if program == "make":
        targets = set(re.findall(r"^([a-z0-9]+):", MAKEFILE, re.MULTILINE))
        variables = set(re.findall(r"\$\((\w+)\)", MAKEFILE))
        known = targets | variables
        return [word for word in rest if word.partition("=")[0] not in known]
    group = XAPI_ELT if program == "xapi-elt" else dbt
    called, known = group, options(group) | {"--help"}
    for word in rest:
        if not word.startswith("-"):
            if word not in called.commands:
                return [word]
            called = called.commands[word]
            known |= options(called)
            if not hasattr(called, "commands"):
                break
    if called is XAPI_ELT.commands["query"]:
        known |= {f"--{one.name}" for name in rest for one in parameters(name)}
    given = [word.partition("=")[0] for word in rest if re.match(r"--?[a-z]", word)]
    return [option for option in given if option not in known] + wrong_selection(rest)


def parameters(name: str) -> tuple[questions.Parameter, ...]:
    """The parameters of a named question; none if there is no question of that name."""
    return questions.find(name).parameters if name in questions.names() else ()


def wrong_selection(rest: list[str]) -> list[str]:
    """The variables and models of a dbt command that the project does not have."""
    wrong = []
    for option, value in pairwise(rest):
        if option == "--vars":
            wrong += set(re.findall(r"(\w+):", value)) - set(DBT_VARIABLES)
        if option == "--select" and re.fullmatch(r"[+\w]+", value):
            wrong += {value.strip("+")} - MODELS
    return wrong


@cache
def anchors(page: Path) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in headings}


def test_the_list_of_commands_is_what_the_command_line_says(tmp_path):
    generated = tmp_path / "commands.md"
    typer_command, *arguments = shlex.split(GENERATE)
    program = Path(sys.executable).with_name(typer_command)
    command = [program, *arguments[:-1], generated]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    assert COMMANDS.read_text() == generated.read_text(), f"run: {GENERATE}"
    assert GENERATE in (ROOT / "CONTRIBUTING.md").read_text()


@pytest.mark.parametrize("command", sorted(XAPI_ELT.commands))
def test_every_command_and_option_is_in_the_list(command):
    after = COMMANDS.read_text().partition(f"\n## `xapi-elt {command}`\n")[2]
    listed = re.findall(r"^\* `(--[a-z0-9-]+)", after.partition("\n## ")[0], re.MULTILINE)
    assert options(XAPI_ELT.commands[command]) | {"--help"} == set(listed)


@pytest.mark.parametrize("page", GUIDES, ids=name)
def test_the_commands_that_a_page_shows_exist(page):
    wrong = {command: wrong_words(command) for command in shown_commands(page.read_text())}
    assert {command: found for command, found in wrong.items() if found} == {}


def test_a_command_that_does_not_exist_is_noticed():
    page = """
Run `make nothing` and `xapi-elt lod x`, or `dbt run --select vidio_events`.

```
$ XAPI_TARGET=server xapi-elt load --forced x.jsonl    an explanation
xapi-elt load x.jsonl && dbt run --vars '{start: 2025-09-01}'
make test && make sure
```
"""
    assert [wrong_words(command) for command in shown_commands(page)] == [
        ["--forced"],
        ["start"],
        ["sure"],
        ["nothing"],
        ["lod"],
        ["vidio_events"],
    ]


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_every_link_leads_to_a_file_and_a_heading(page):
    for link in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        if re.match(r"[a-z]+:", link):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_the_readme_has_at_most_a_hundred_lines():
    assert len(README.splitlines()) <= 100


def test_the_readme_and_the_page_of_the_models_give_tables_the_same_grain():
    page = (ROOT / "docs" / "models.md").read_text()
    grains = dict(re.findall(r"^\| `(\w+)` \| .*? \| (.*?) \| `.*?` \|$", page, re.MULTILINE))
    shown = dict(re.findall(r"^\| `(\w+)` \| (.*) \|$", README, re.MULTILINE))
    assert len(shown) >= 6
    assert shown.items() <= grains.items()


@pytest.mark.parametrize("record", RECORDS, ids=name)
def test_a_decision_has_its_sections_and_a_line_in_the_index(record):
    text = record.read_text()
    head = re.match(r"# (\d{4}\. .+)\n\n- Status: (.+)\n- Date: \d{4}-\d\d-\d\d", text)
    assert head, "title, status and date come first"
    title, status = head.groups()
    assert re.findall(r"^## (.+)$", text, re.MULTILINE) == ["Context", "Decision", "Consequences"]
    number, subject = title.split(". ", 1)
    index = (record.parent / "README.md").read_text()
    assert f"| [{number}]({record.name}) | {subject} | {status} |" in index


def test_no_two_decisions_have_the_same_number():
    numbers = [record.name[:4] for record in RECORDS]
    assert sorted(set(numbers)) == numbers


def test_the_iris_of_the_contract_are_those_that_the_models_know():
    page = (ROOT / "docs" / "integrate.md").read_text()
    shown = re.search(r"^## Statements\n(.*?)^## ", page, re.MULTILINE | re.DOTALL)[1]
    known = (ROOT / "macros" / "xapi_iris.sql").read_text()
    iris = set(re.findall(r"`((?:https?://|resultExt:)[^`…]*)…?`", shown))
    assert len(iris) > 12
    assert {iri for iri in iris if f"'{iri}'" not in known} == set()
    verbs_and_types = re.findall(
        r"'(http[^']*/(?:verbs?|activity-type|activities|extensions)/[a-z_/]+)'", known
    )
    videos = {"played", "paused", "seeked"}
    assert {one for one in verbs_and_types if one.rpartition("/")[2] not in videos} <= iris
