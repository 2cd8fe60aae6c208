"""A public bucket: a folder that nginx serves path-style, and the objects in it.

nginx because nothing else at hand is fast enough not to be what is measured.
"""

import ctypes
import os
import shutil
import signal
import socket
import subprocess
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from hashlib import md5
from pathlib import Path

from bench.statements import CATEGORIES, FIRST_SECTION, Lines
from loader.objects import S3Object

_CONFIGURATION = """
{user}
worker_processes 2;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
events {{ worker_connections 512; }}
http {{
    log_format requests '$request_method $request_uri $status $body_bytes_sent';
    access_log {folder}/access.log requests;
    sendfile on;
    keepalive_requests 10000000;
    client_body_temp_path {folder}/body;
    proxy_temp_path {folder}/proxy;
    fastcgi_temp_path {folder}/fastcgi;
    uwsgi_temp_path {folder}/uwsgi;
    scgi_temp_path {folder}/scgi;
    server {{
        listen 127.0.0.1:{port};
        root {root};
    }}
}}
"""


@dataclass(frozen=True)
class Lake:
    """A served folder.

    Attributes:
        root: folder; buckets are folders in it.
        endpoint: http://127.0.0.1:port.
        log: one line for each request: method, path, status, bytes.
    """

    root: Path
    endpoint: str
    log: Path

    def requests(self, since: int = 0) -> Counter[str]:
        """Count requests by method; a GET without a key counts as LIST.

        Args:
            since: position in the log to start from (see `log_end`).
        """
        with self.log.open() as log:
            log.seek(since)
            parts = [line.split() for line in log]
        keys = ((method, uri.partition("?")[0].strip("/")) for method, uri, *_ in parts)
        return Counter(method if "/" in path else "LIST" for method, path in keys)

    def log_end(self) -> int:
        """The current end of the log, for `requests`."""
        return self.log.stat().st_size


@contextmanager
def serve(root: Path, folder: Path) -> Iterator[Lake]:
    """Serve a folder on 127.0.0.1 until the end of the `with` or of this process.

    Args:
        root: the folder to serve.
        folder: for nginx's own files.

    Raises:
        RuntimeError: nginx is not installed, or does not start.
    """
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if not program:
        raise RuntimeError("nginx is not installed; run as root: apt-get install nginx-light")
    root, folder = root.resolve(), folder.resolve()
    root.mkdir(parents=True, exist_ok=True)
    folder.mkdir(parents=True, exist_ok=True)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    log = folder / "access.log"
    log.write_text("")
    configuration = folder / "nginx.conf"
    configuration.write_text(
        _CONFIGURATION.format(
            # If root starts nginx, its workers run as another user, who may not read the folder.
            user="user root;" if os.getuid() == 0 else "",
            folder=folder,
            root=root,
            port=port,
        )
    )
    command = [program, "-e", str(folder / "error.log"), "-c", str(configuration)]
    nginx = subprocess.Popen([*command, "-g", "daemon off;"], preexec_fn=_end_with_parent)
    try:
        _wait(nginx, f"http://127.0.0.1:{port}/", folder / "error.log")
        yield Lake(root, f"http://127.0.0.1:{port}", log)
    finally:
        nginx.terminate()
        nginx.wait()


def _end_with_parent() -> None:
    """Runs in the child: the kernel sends it SIGTERM when the parent ends (PR_SET_PDEATHSIG)."""
    ctypes.CDLL(None).prctl(1, signal.SIGTERM)


def _wait(nginx: subprocess.Popen, url: str, errors: Path) -> None:
    for _ in range(100):
        try:
            urllib.request.urlopen(url, timeout=1)
        except urllib.error.HTTPError:
            return
        except OSError:
            if nginx.poll() is not None:
                raise RuntimeError(f"nginx ended: {errors.read_text()[-500:]}") from None
            time.sleep(0.1)
    raise RuntimeError("nginx did not respond within 10 seconds")


def key_of(section: int, category: str, at: datetime, number: int, suffix: str = ".jsonl") -> str:
    """A key in Torus's format."""
    stamp = at.isoformat(timespec="microseconds")[:26].replace(":", "-")
    digest = md5(f"{section}/{category}/{number}".encode()).hexdigest().upper()
    return f"section/{section}/{category}/{stamp}Z_{digest}{suffix}"


def write_large(root: Path, bucket: str, lines: Lines, objects: int) -> list[S3Object]:
    """Write objects of many mixed lines, sorted by time; existing ones are kept.

    Returns:
        The objects, as in a notification.
    """
    keys = [
        key_of(FIRST_SECTION, "video", _end(lines.part(number, objects)), number)
        for number in range(objects)
    ]
    wanted = [number for number in range(objects) if not (root / bucket / keys[number]).exists()]
    if wanted:
        with _generator() as select:
            for number in wanted:
                _write(root / bucket / keys[number], select(lines.part(number, objects)))
    return [_object(root, bucket, key) for key in keys]


def write_tiny(root: Path, bucket: str, lines: Lines) -> list[S3Object]:
    """Write each block of lines as an object, into three folders per section.

    Returns:
        The objects, as in a notification.
    """
    objects = lines.count // lines.per_object
    keys = []
    for number in range(objects):
        kind = number * 61 % 100
        category = CATEGORIES[0 if kind < 58 else 1 if kind < 92 else 2]
        section = FIRST_SECTION + 13 * (number % lines.sections)
        uploaded = _end(lines.part(number, objects))
        keys.append(key_of(section, category, uploaded, number))
    if not (root / bucket / keys[-1]).exists():
        with _generator() as select:
            text = select(lines).splitlines(keepends=True)
        for number, key in enumerate(keys):
            block = text[number * lines.per_object : (number + 1) * lines.per_object]
            _write(root / bucket / key, b"".join(block))
    return [_object(root, bucket, key) for key in keys]


def _object(root: Path, bucket: str, key: str) -> S3Object:
    """Describe an object, with the ETag that nginx sends."""
    status = (root / bucket / key).stat()
    etag = f"{int(status.st_mtime):x}-{status.st_size:x}"
    modified = datetime.fromtimestamp(int(status.st_mtime), tz=UTC)
    return S3Object(bucket, key, etag, status.st_size, last_modified=modified)


def _end(lines: Lines) -> datetime:
    """The upload time of lines: shortly after the last one."""
    end = lines.start.timestamp() + 86400 * lines.days
    return datetime.fromtimestamp(end, tz=UTC) + timedelta(seconds=3)


def _write(path: Path, content: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    # Written in one step, because an existing file counts as complete.
    path.with_suffix(".part").write_bytes(content)
    os.replace(path.with_suffix(".part"), path)


@contextmanager
def _generator():
    """Yield a function that generates lines and returns their bytes."""
    import chdb

    engine = chdb.connect(":memory:")
    try:
        yield lambda lines: engine.query(lines.sql(), "TSVRaw").bytes()
    finally:
        engine.close()
