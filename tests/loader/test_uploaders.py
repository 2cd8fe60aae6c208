"""The uploaders of docs/examples: requests are signed, repeated when they should be, and readable.

`tests/e2e/test_uploaders.py` runs them against the deployed stack.
"""

import json
import re
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from shutil import which
from typing import Any

import pytest
import yaml
from botocore.auth import S3SigV4Auth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from jsonschema import Draft202012Validator

from tests.helpers.paths import ROOT
from tests.helpers.secrets import AWS_SECRET
from tests.helpers.small_database import ONE_OF_EACH

EXAMPLES = ROOT / "docs" / "examples"
PROGRAMS = {
    "uploader.py": [sys.executable],
    "uploader.mjs": [which("node")],
    "uploader.exs": [which("elixir")],
}
# With characters that JSON and Unicode escape.
BODY = ("\n".join(ONE_OF_EACH) + '\n{"note": "\\"é\U0001f393\\u0001 \\\\"}\t').encode()


class Server(ThreadingHTTPServer):
    """An endpoint of AWS that gives these answers, then 200, and keeps what it received."""

    def __init__(self, *answers: int):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers = list(answers)
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.requests.append((self.command, self.path, headers, body))
        status = self.server.answers.pop(0) if self.server.answers else 200
        self.send_response(status)
        content = b"{}" if self.command == "POST" else b""  # as S3 and Lambda answer
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_PUT = do_POST = answer

    def log_message(self, *_: Any) -> None:
        """Nothing."""


@pytest.fixture
def server() -> Iterator[Server]:
    running = Server()
    threading.Thread(target=running.serve_forever, daemon=True).start()
    yield running
    running.shutdown()
    running.server_close()


def upload(program: str, server: Server, tmp_path, mode: str) -> subprocess.CompletedProcess:
    """Run an uploader on a file."""
    if not PROGRAMS[program][0]:
        pytest.skip(f"{program} needs a program that is not installed here")
    (tmp_path / "lines.jsonl").write_bytes(BODY)
    environment = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": str(tmp_path),
        "LC_ALL": "C.UTF-8",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
        "AWS_ACCESS_KEY_ID": "test-key",
        "AWS_SECRET_ACCESS_KEY": AWS_SECRET,
        "AWS_SESSION_TOKEN": "token+/=",
        "AWS_REGION": "eu-central-1",
        "AWS_DEFAULT_REGION": "eu-central-1",
        "S3_XAPI_BUCKET_NAME": "lake",
        "XAPI_LAMBDA_FUNCTION_NAME": "xapi-elt-dev",
        "XAPI_ETL_MODE": mode,
    }
    command = [*PROGRAMS[program], EXAMPLES / program, "lines.jsonl", "2161", "video"]
    return subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120
    )


def is_signed(request: tuple, service: str) -> bool:
    """Whether the AWS SDK of Python would have signed the request in the same way."""
    method, path, headers, body = request
    authorization = headers["authorization"]
    listed = re.search(r"SignedHeaders=([^,]+)", authorization)[1].split(";")
    again = AWSRequest(
        method,
        f"http://{headers['host']}{path}",
        headers={name: headers[name] for name in listed},
        data=body,
    )
    again.context["timestamp"] = headers["x-amz-date"]
    kind = S3SigV4Auth if service == "s3" else SigV4Auth
    signer = kind(Credentials("test-key", AWS_SECRET, "token+/="), service, "eu-central-1")
    text = signer.string_to_sign(again, signer.canonical_request(again))
    return authorization.endswith(f"Signature={signer.signature(text, again)}")


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_put_is_signed_and_repeated_with_the_same_key(program, server, tmp_path):
    server.answers += [503, 500]
    done = upload(program, server, tmp_path, "s3")
    assert done.returncode == 0, done.stderr
    key = done.stdout.split()[-1]
    schema = json.loads((ROOT / "docs/schemas/object_key.json").read_text())
    assert Draft202012Validator(schema).is_valid(key)
    assert [(method, path) for method, path, *_ in server.requests] == [("PUT", f"/lake/{key}")] * 3
    for request in server.requests:
        assert BODY in request[3]  # boto3 may send it in chunks with a checksum
        if program != "uploader.py":
            assert is_signed(request, "s3")


@pytest.mark.parametrize("program", PROGRAMS)
def test_an_invocation_is_signed_and_has_a_bundle(program, server, tmp_path):
    done = upload(program, server, tmp_path, "lambda")
    assert done.returncode == 0, done.stderr
    [request] = server.requests
    assert request[:2] == ("POST", "/2015-03-31/functions/xapi-elt-dev/invocations")
    event = json.loads(request[3])
    schema = json.loads((ROOT / "docs/schemas/bundle_event.json").read_text())
    assert Draft202012Validator(schema).is_valid(event)
    assert event == {"key": done.stdout.split()[-1], "body": BODY.decode()}
    if program != "uploader.py":
        assert is_signed(request, "lambda")


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_request_that_is_refused_is_not_repeated(program, server, tmp_path):
    server.answers += [403]
    done = upload(program, server, tmp_path, "s3")
    assert done.returncode != 0
    assert len(server.requests) == 1


@pytest.mark.parametrize("name", ["vector.yaml", "fluent-bit.yaml"])
def test_a_configuration_that_was_not_run_says_so(name):
    text = (EXAMPLES / name).read_text()
    assert "not run here" in " ".join(text.replace("#", " ").split())
    assert yaml.safe_load(text)
