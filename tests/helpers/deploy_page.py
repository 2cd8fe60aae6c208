"""The commands of docs/deploy.md: which of them can be run here, and a shell that runs them."""

import os
import re
import shlex
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.helpers.doc_blocks import blocks
from tests.helpers.paths import ROOT

PAGE = ROOT / "docs" / "deploy.md"

# What a comment behind a command says of one that the tests cannot run.
_SKIPPED = re.compile(r"\s+# (AWS only|server only|Cloud only|not replayed: .+)$")
_ENDLESS = re.compile(r"\s+# runs until SIGTERM$")


@dataclass(frozen=True)
class Command:
    """A command of the page.

    Attributes:
        text: as it is written, without the comment.
        section: the heading that it is below.
        skipped: why it is not run; '' if it is.
        is_endless: whether it has to be stopped.
    """

    text: str
    section: str
    skipped: str
    is_endless: bool


def commands() -> list[Command]:
    """All shell commands of the page, in its order."""
    found = []
    for block in blocks(PAGE):
        for written in block.commands if block.language == "sh" else ():
            skipped, endless = _SKIPPED.search(written), _ENDLESS.search(written)
            text = _ENDLESS.sub("", _SKIPPED.sub("", written))
            found.append(Command(text, block.section, skipped[1] if skipped else "", bool(endless)))
    return found


class Shell:
    """Runs commands one after another as one shell would: variables last.

    Args:
        folder: where they run; it has links to what the commands name.
        environment: the variables at the beginning.
        answers: the lines that each command can read.
    """

    def __init__(self, folder: Path, environment: dict[str, str], answers: str):
        self._folder = folder
        self._environment = environment
        self._state = folder / ".state"
        self._state.write_text("")
        self._answers = folder / ".answers"
        self._answers.write_text(answers)
        for name in (".venv", "lambda", "docs"):
            (folder / name).symlink_to(ROOT / name)

    def run(self, command: str) -> str:
        """Run a command, which must succeed; what it printed."""
        process = self.start(command)
        output, _ = process.communicate(timeout=900)
        assert process.returncode == 0, f"{command}\n{output}"
        return output

    def start(self, command: str) -> subprocess.Popen:
        """Start a command; what it printed comes from the process's standard output."""
        quoted = {name: shlex.quote(str(path)) for name, path in vars(self).items() if "_" in name}
        script = (
            f". {quoted['_state']}\n{{ {command}\n}} < {quoted['_answers']}\n"
            f"code=$?\nexport -p > {quoted['_state']}\nexit $code\n"
        )
        return subprocess.Popen(
            ["bash", "-c", script],
            cwd=self._folder,
            env=self._environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
        )

    @staticmethod
    def stop(process: subprocess.Popen) -> str:
        """Send SIGTERM to a command; what it had printed."""
        os.killpg(process.pid, signal.SIGTERM)
        return process.communicate(timeout=120)[0]
