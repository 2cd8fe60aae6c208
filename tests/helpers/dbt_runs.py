"""Runs dbt by its command line, from the root of the project."""

import atexit
import functools
import hashlib
import os
import shutil
import tempfile
from pathlib import Path

from tests.helpers.processes import Forks, Process

PARSED = "partial_parse.msgpack"

# What all calls of this process share; it goes away with the process.
_SHARED = tempfile.TemporaryDirectory(prefix="xapi-tests-")


def run_dbt(*arguments: str, folder: Path, fails: bool = False, artifacts: bool = False) -> str:
    """Run a dbt command against the database of the environment, which must not be open here.

    dbt takes longer to be imported and to parse the project than to work on a few lines: it is
    a fork of a process that has imported it (`processes`), and finds here what it parsed for
    another test; it sees by itself whether that still holds.

    Args:
        arguments: e.g. 'run', '--select', 'video_events'.
        folder: where its target and log folders go.
        fails: whether it is meant to fail.
        artifacts: whether it writes manifest.json and the like, which take it half a second.

    Returns:
        What it printed.
    """
    process = start_dbt(*arguments, folder=folder, artifacts=artifacts)
    assert (process.wait(600) != 0) == fails, process.output
    _keep_parse(arguments, folder)
    return process.output


def start_dbt(*arguments: str, folder: Path, artifacts: bool = False) -> Process:
    """The same without waiting for its end."""
    command = ["dbt", *arguments, "--no-use-colors"]
    command += ["--target-path", str(folder / "target"), "--log-path", str(folder / "logs")]
    command += [] if artifacts else ["--no-write-json"]
    env = _with_a_path_that_stays()
    kept, parsed = _kept_parse(arguments, env), folder / "target" / PARSED
    if kept.exists():
        parsed.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(kept, parsed)
    folder.mkdir(parents=True, exist_ok=True)
    return _forks().start(command, env, folder)


def _keep_parse(arguments: tuple[str, ...], folder: Path) -> None:
    """Keep what dbt parsed, for other tests."""
    kept, parsed = _kept_parse(arguments, _with_a_path_that_stays()), folder / "target" / PARSED
    if parsed.exists() and not kept.exists():
        shutil.copyfile(parsed, kept)


def _kept_parse(arguments: tuple[str, ...], env: dict[str, str]) -> Path:
    return Path(_SHARED.name) / _what_a_parse_depends_on(arguments, env)


@functools.cache
def _forks() -> Forks:
    forks = Forks()
    atexit.register(forks.close)
    return forks


def _with_a_path_that_stays() -> dict[str, str]:
    """The environment with a link instead of the database's path: dbt parses the whole project
    again when its profile names another path."""
    env = dict(os.environ)
    if path := env.get("XAPI_CHDB_PATH"):
        Path(path).mkdir(parents=True, exist_ok=True)
        link = Path(_SHARED.name) / "clickhouse"
        link.unlink(missing_ok=True)
        link.symlink_to(Path(path).resolve())
        env["XAPI_CHDB_PATH"] = str(link)
    return env


def _what_a_parse_depends_on(arguments: tuple[str, ...], env: dict[str, str]) -> str:
    """A name for what is parsed: variables of the command line and the profile's settings."""
    variables = arguments[arguments.index("--vars") + 1] if "--vars" in arguments else ""
    settings = sorted(item for item in env.items() if item[0].startswith(("XAPI_", "CLICKHOUSE_")))
    return hashlib.sha256(repr((variables, settings)).encode()).hexdigest()
