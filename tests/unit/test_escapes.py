"""What reaches a terminal or a log: no control character, no forged line, no forged field."""

import io
import json
import re
from contextlib import redirect_stdout

import pytest
from rich.console import Console

from loader.cli import output
from loader.log import Log, escaped, to_json

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


def test_json_of_a_command_is_printable():
    with redirect_stdout(io.StringIO()) as printed:
        output.print_json({"error": HOSTILE})
    assert all(line.isprintable() for line in printed.getvalue().split("\n"))
