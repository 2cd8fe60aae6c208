"""A real Superset on 127.0.0.1, for as long as a test run lasts, and a client of its API."""

import os
import secrets
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import requests

from tests.helpers.ministack import free_port, wait_until
from tests.helpers.paths import ROOT
from tests.helpers.secrets import MARK

COMMAND = ROOT / ".venv-superset" / "bin" / "superset"
BUNDLE = ROOT / "dbt_project" / "superset"

# The key is in the environment of the processes alone.
CONFIG = """
import os
SECRET_KEY = os.environ["TEST_SECRET_KEY"]
SQLALCHEMY_DATABASE_URI = "sqlite:///" + os.environ["SUPERSET_HOME"] + "/superset.db"
"""


class Superset:
    """Superset with empty metadata and one administrator; serves inside the `with` block."""

    def __init__(self, folder: Path):
        """Everything that it writes goes into the folder."""
        self.folder, self.port = folder, free_port()
        self.password = f"{MARK}-{secrets.token_urlsafe(24)}"
        self._session = requests.Session()
        config = folder / "superset_config.py"
        config.write_text(CONFIG)
        self._environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(folder),
            "FLASK_APP": "superset",
            "SUPERSET_HOME": str(folder),
            "SUPERSET_CONFIG_PATH": str(config),
            "TEST_SECRET_KEY": secrets.token_urlsafe(42),
            "SCARF_ANALYTICS": "false",
        }

    def run(self, *arguments: str) -> None:
        """Run a command of Superset, at most five minutes."""
        done = subprocess.run(
            [COMMAND, *arguments],
            env=self._environment,
            cwd=self.folder,
            capture_output=True,
            text=True,
            timeout=300,
        )
        assert done.returncode == 0, f"superset {arguments[0]}: {done.stdout}{done.stderr}"

    def __enter__(self) -> "Superset":
        """Make the metadata and the administrator, start the server, and log in."""
        self.run("db", "upgrade")
        who = ("--username", "admin", "--firstname", "A", "--lastname", "B")
        who += ("--email", "admin@example.org", "--password", self.password)
        self.run("fab", "create-admin", *who)
        self.run("init")
        with open(self.folder / "server.log", "w") as log:
            self._process = subprocess.Popen(
                [COMMAND, "run", "--host", "127.0.0.1", "--port", str(self.port), "--with-threads"],
                env=self._environment,
                cwd=self.folder,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        try:
            wait_until(self._is_up, 120)
            self._log_in()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        """End the server."""
        self._stop()

    def call(self, method: str, path: str, **how: Any) -> dict[str, Any]:
        """The answer of the API; an error of it fails the test."""
        answer = self._session.request(method, self._url(path), timeout=120, **how)
        assert answer.ok, f"{method} {path}: {answer.status_code} {answer.text[:2000]}"
        return answer.json()

    def listed(self, kind: str) -> list[dict[str, Any]]:
        """All charts, dashboards, datasets or databases."""
        return self.call("GET", f"{kind}/?q=(page_size:100)")["result"]

    def upload(self, kind: str, bundle: Path) -> None:
        """Import a bundle as the page of charts, datasets or dashboards does, and overwrite."""
        with open(bundle, "rb") as file:
            self.call(
                "POST", f"{kind}/import/", files={"formData": file}, data={"overwrite": "true"}
            )

    def rows(self, datasource: int, query: dict[str, Any]) -> list[dict[str, Any]]:
        """What Superset's own query of a dataset returns."""
        request = {
            "datasource": {"id": datasource, "type": "table"},
            "queries": [query],
            "result_format": "json",
            "result_type": "full",
            "force": True,
        }
        result = self.call("POST", "chart/data", json=request)["result"][0]
        assert result["error"] is None and result["rejected_filters"] == [], result
        return result["data"]

    def _url(self, path: str) -> str:
        return f"http://127.0.0.1:{self.port}/api/v1/{path}"

    def _is_up(self) -> bool:
        assert self._process.poll() is None, (self.folder / "server.log").read_text()[-3000:]
        try:
            return requests.get(f"http://127.0.0.1:{self.port}/health", timeout=30).ok
        except requests.ConnectionError:
            time.sleep(0.5)
            return False

    def _log_in(self) -> None:
        who = {"username": "admin", "password": self.password, "provider": "db"}
        token = self.call("POST", "security/login", json=who)["access_token"]
        self._session.headers["Authorization"] = f"Bearer {token}"
        csrf = self.call("GET", "security/csrf_token/")["result"]
        self._session.headers["X-CSRFToken"] = csrf

    def _stop(self) -> None:
        os.killpg(self._process.pid, signal.SIGTERM)
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()


def zip_bundle(folder: Path) -> Path:
    """The bundle as one file, packed as docs/pages.md says."""
    return Path(
        shutil.make_archive(str(folder / "superset"), "zip", BUNDLE.parent, base_dir=BUNDLE.name)
    )
