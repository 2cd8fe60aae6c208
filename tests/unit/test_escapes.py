"""What reaches a terminal or a log: no control character, no forged line, no forged field."""

import ast
import io
import json
import re
from contextlib import redirect_stdout
from types import SimpleNamespace

import pytest
from rich.console import Console

from loader.cli import output
from loader.log import Log, escaped, to_json
from tests.helpers.paths import ROOT

# Escape sequence, line breaks, change of direction, C1 control, delete, line separator, half a
# character.
HOSTILE = "a\x1b[2J\r\n2026-01-01 INFO loaded\u202e\x9b\x7f\u2028\ud800b"
SHOWN = r"a\x1b[2J\r\n2026-01-01 INFO loaded\u202e\x9b\x7f\u2028\ud800b"


def test_what_can_be_printed_stays_and_the_rest_is_escaped():
    assert escaped(HOSTILE) == SHOWN
    assert escaped("é 学习 🎓 it's \\ {x}") == "é 学习 🎓 it's \\ {x}"
    assert escaped(7) == "7"


@pytest.mark.parametrize("human", [True, False])
def test_a_log_event_is_one_line_of_printable_text(human):
    stream = io.StringIO()
    Log("INFO", stream, human)("INFO", "object", object=HOSTILE, error=f"x: {HOSTILE}")
    text = stream.getvalue()
    assert text.endswith("\n") and text[:-1].isprintable()
    if not human:
        assert json.loads(text)["object"] == HOSTILE


def test_a_value_is_not_taken_for_several_fields():
    stream = io.StringIO()
    Log("INFO", stream, human=True)("INFO", "object", object='a.jsonl outcome="x"', rows=3)
    assert stream.getvalue().split(" object ", 1)[1] == (
        'object="a.jsonl outcome=\\"x\\"" rows=3\n'
    )


@pytest.mark.parametrize("value", ['a b\\" outcome="committed', 'a "\\', "a b\\", "\\ =", HOSTILE])
def test_a_field_ends_where_its_value_ends(value):
    """A reader of key="value" sees one field, with the value as it is shown."""
    stream = io.StringIO()
    Log("INFO", stream, human=True)("INFO", "object", object=value, rows=3)
    fields = stream.getvalue().split(" object ", 1)[1]
    found = re.fullmatch(r'object="((?:[^"\\]|\\.)*)" rows=3\n', fields)
    assert re.sub(r"\\(.)", r"\1", found[1]) == escaped(value)


def test_json_is_printable_ascii():
    assert to_json({HOSTILE: [HOSTILE]}).isprintable()
    assert json.loads(to_json({HOSTILE: [HOSTILE]})) == {HOSTILE: [HOSTILE]}


@pytest.mark.parametrize("terminal", [True, False])
def test_what_commands_print_has_no_control_characters(monkeypatch, terminal):
    stream = io.StringIO()
    console = output.SafeConsole(
        file=stream, force_terminal=terminal, color_system=None, width=500, soft_wrap=True
    )
    monkeypatch.setattr(output, "console", console)
    console.print(f"failed: {HOSTILE}")
    output.print_table("Titles", [{"verb": HOSTILE, HOSTILE: 1}])
    output.print_table("Empty", [], HOSTILE)
    text = stream.getvalue()
    plain = text.replace("\x1b[3m", "").replace("\x1b[0m", "").replace("\x1b[1m", "")
    assert all(line.isprintable() for line in plain.split("\n")), plain
    assert plain.count(SHOWN) == 4
    assert isinstance(console, Console)


def test_all_consoles_of_the_command_line_are_safe():
    assert isinstance(output.console, output.SafeConsole)
    assert isinstance(output.errors, output.SafeConsole)


@pytest.mark.parametrize("terminal", [True, False])
def test_a_status_line_has_no_control_characters_and_reads_no_markup(monkeypatch, terminal):
    """The title of a course is in it: http://x/[/b] is no markup, and stops no report."""
    stream = io.StringIO()
    console = output.SafeConsole(file=stream, force_terminal=terminal, width=200, markup=False)
    monkeypatch.setattr(output, "errors", console)
    with output.counting(f"[/b] {HOSTILE}") as status:
        status.update(f"page 1 of 3: http://x/[/b] {HOSTILE}")
        status.update()
        if terminal:
            status.update(spinner="line")
    text = stream.getvalue()
    assert (f"page 1 of 3: http://x/[/b] {SHOWN}" in text) == terminal
    assert not [raw for raw in ("\x1b[2J", "\u202e", "\x9b", "\u2028") if raw in text]


def test_a_question_has_no_control_characters(monkeypatch):
    asked = []
    monkeypatch.setattr(output.typer, "confirm", lambda text, **_: asked.append(text))
    monkeypatch.setattr(output.sys, "stdin", SimpleNamespace(isatty=lambda: True))
    output.confirm(HOSTILE, yes=False)
    assert asked == [SHOWN]


# Calls that write to a terminal, or make what does.
WRITES = ("print", "Console", "Status", "Live", "Progress", "track", "Table")
WRITES += ("typer.echo", "typer.secho", "typer.confirm", "typer.prompt", "input")
WRITES += ("sys.stdout.write", "sys.stderr.write", "sys.stdout.buffer.write")

# Those with text that this program alone has made, or that goes elsewhere.
HARMLESS = {
    "bulk/backfill.py: print(line, file=self._month_of(item))",
    "cli/app.py: print(f\"xapi-elt {version('xapi-elt')}\")",
    "cli/output.py: Progress(TextColumn('loading')",
    "cli/query.py: Table(box=None, pad_edge=False)",
    "cli/query.py: sys.stdout.buffer.write(answer)",  # to a file or a pipe
    "clickhouse/safety.py: print(macro(), end='')",
    "demo/demo.py: track(sample, '   writing'",
    "status.py: Status(unloaded=",  # the page of `xapi-elt status`, which is data
    "log.py: print(text, file=self._stream or sys.stdout, flush=True)",
}


def test_everything_that_prints_goes_through_the_escaping_function():
    """A console, a status line or a print of another kind would let keys and titles through."""
    found = set()
    for path in sorted((ROOT / "loader").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) in WRITES:
                text = ast.unparse(node)
                if "escaped" not in text and "to_json(" not in text:
                    found.add(f"{path.relative_to(ROOT / 'loader')}: {text}")
    unknown = {text for text in found if not text.startswith(tuple(HARMLESS))}
    assert not unknown
    assert len(found) == len(HARMLESS)


def test_json_of_a_command_is_printable():
    with redirect_stdout(io.StringIO()) as printed:
        output.print_json({"error": HOSTILE})
    assert all(line.isprintable() for line in printed.getvalue().split("\n"))
