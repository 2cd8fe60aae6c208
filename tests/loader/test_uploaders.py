"""The uploaders of docs/examples: requests are signed, repeated when they should be, and readable.

`tests/e2e/test_uploaders.py` runs them against the deployed stack.
"""

import gzip
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
KEY = "section/2161/video/2025-10-01T00-00-15.123456Z_0CC175B9C0F1B6A831C399E269772661.jsonl"
SCHEMAS = ROOT / "docs" / "schemas"
BODY = ("\n".join(ONE_OF_EACH) + '\n{"note": "\\"é\U0001f393\\u0001 \\\\"}\t').encode()


def function_error(kind: str) -> tuple[int, bytes, dict[str, str]]:
    """An answer of Lambda about a function that failed."""
    text = json.dumps({"errorMessage": "failed", "errorType": kind})
    return 200, text.encode(), {"X-Amz-Function-Error": "Unhandled"}


def s3_error(status: int, code: str) -> tuple[int, bytes, dict[str, str]]:
    """An error of S3."""
    return status, f"<Error><Code>{code}</Code></Error>".encode(), {}


class Server(ThreadingHTTPServer):
    """An endpoint of AWS that gives these answers, then 200, and keeps what it received. An answer
    is a status, or a status with a body and headers."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[int | tuple[int, bytes, dict[str, str]]] = []
        self.requests: list[tuple[str, str, dict[str, str], bytes]] = []


class Handler(BaseHTTPRequestHandler):
    """Answers one request."""

    protocol_version = "HTTP/1.1"

    def answer(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        headers = {name.lower(): value for name, value in self.headers.items()}
        self.server.requests.append((self.command, self.path, headers, body))
        answer = self.server.answers.pop(0) if self.server.answers else 200
        if isinstance(answer, int):  # as S3 and Lambda answer
            answer = answer, b"{}" if self.command == "POST" else b"", {}
        status, content, more = answer
        self.send_response(status)
        for name, value in more.items():
            self.send_header(name, value)
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


def upload(
    program: str,
    server: Server,
    tmp_path,
    mode: str,
    *arguments: str,
    body: bytes = BODY,
    **changes: str,
) -> subprocess.CompletedProcess:
    """Run an uploader on a file, with these arguments after the file and these variables."""
    if not PROGRAMS[program][0]:
        pytest.skip(f"{program} needs a program that is not installed here")
    (tmp_path / "lines.jsonl").write_bytes(body)
    environment = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "HOME": str(tmp_path),
        "LC_ALL": "C.UTF-8",
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
        "AWS_ACCESS_KEY_ID": "test-key",
        "AWS_SECRET_ACCESS_KEY": AWS_SECRET,
        "AWS_SESSION_TOKEN": "token+/=",
        "AWS_REGION": "eu-central-1",
        "S3_XAPI_BUCKET_NAME": "lake",
        "XAPI_LAMBDA_FUNCTION_NAME": "xapi-elt-dev",
        "XAPI_ETL_MODE": mode,
    } | changes
    rest = arguments or ("2161", "video")
    command = [*PROGRAMS[program], EXAMPLES / program, "lines.jsonl", *rest]
    return subprocess.run(
        command, env=environment, cwd=tmp_path, capture_output=True, text=True, timeout=120
    )


def is_valid(schema: str, value: Any) -> bool:
    """Whether a value is valid by a schema of docs/schemas."""
    return Draft202012Validator(json.loads((SCHEMAS / f"{schema}.json").read_text())).is_valid(
        value
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
    key = done.stdout.split()[0]
    assert is_valid("object_key", key)
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
    assert is_valid("bundle_event", event)
    assert event == {"key": done.stdout.split()[0], "body": BODY.decode()}
    if program != "uploader.py":
        assert is_signed(request, "lambda")


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_request_that_is_refused_is_not_repeated(program, server, tmp_path):
    server.answers += [403]
    done = upload(program, server, tmp_path, "s3")
    assert done.returncode == 1
    assert len(server.requests) == 1
    assert done.stdout.split() == [done.stderr.split()[-1]], "the key is not printed to repeat it"


@pytest.mark.parametrize("program", PROGRAMS)
def test_errors_of_s3_that_go_away_are_repeated(program, server, tmp_path):
    server.answers += [s3_error(400, "RequestTimeout"), s3_error(409, "OperationAborted"), 408]
    done = upload(program, server, tmp_path, "s3")
    assert done.returncode == 0, done.stderr
    assert len(server.requests) == 4


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_function_that_failed_is_invoked_again_with_the_same_event(program, server, tmp_path):
    crash = 200, b'{"errorMessage": "Task timed out"}', {"X-Amz-Function-Error": "Unhandled"}
    server.answers += [function_error("RetryableError"), crash]
    done = upload(program, server, tmp_path, "lambda")
    assert done.returncode == 0, done.stderr
    assert len(server.requests) == 3
    assert len({body for *_, body in server.requests}) == 1


@pytest.mark.parametrize("program", PROGRAMS)
def test_a_bundle_that_the_function_refuses_is_not_sent_again(program, server, tmp_path):
    server.answers += [function_error("PermanentError")]
    done = upload(program, server, tmp_path, "lambda")
    assert done.returncode == 1
    assert len(server.requests) == 1
    assert "PermanentError" in done.stderr


@pytest.mark.parametrize("program", PROGRAMS)
def test_an_upload_is_repeated_with_its_key(program, server, tmp_path):
    done = upload(program, server, tmp_path, "s3", KEY)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [KEY]
    assert [path for _, path, *_ in server.requests] == [f"/lake/{KEY}"]


@pytest.mark.parametrize("program", PROGRAMS)
def test_gzip_is_put_under_its_ending_and_not_sent_in_an_event(program, server, tmp_path):
    body = gzip.compress(BODY)
    done = upload(program, server, tmp_path, "lambda", body=body)
    assert done.returncode == 1
    assert "UTF-8" in done.stderr
    assert not server.requests
    done = upload(program, server, tmp_path, "s3", body=body)
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip().endswith(".jsonl.gz")
    assert is_valid("object_key", done.stdout.strip())
    assert body in server.requests[0][3]


@pytest.mark.parametrize("program", PROGRAMS)
def test_an_event_has_the_bytes_of_the_file(program, server, tmp_path):
    body = b"\xef\xbb\xbf" + BODY
    assert upload(program, server, tmp_path, "lambda", body=body).returncode == 0
    [request] = server.requests
    assert json.loads(request[3])["body"].encode() == body


@pytest.mark.parametrize("program", PROGRAMS)
@pytest.mark.parametrize(
    ("arguments", "variables", "problem"),
    [
        (("1", "2", "3"), {}, "usage: uploader"),
        (("abc", "video"), {}, "SECTION must be a number"),
        (("1", ".."), {}, "CATEGORY a name"),
        ((), {"S3_XAPI_BUCKET_NAME": ""}, "S3_XAPI_BUCKET_NAME is not set"),
    ],
)
def test_a_wrong_call_sends_nothing(program, arguments, variables, problem, server, tmp_path):
    done = upload(program, server, tmp_path, "s3", *arguments, **variables)
    assert done.returncode == 1
    assert problem in done.stderr
    assert not server.requests


def test_an_event_of_elixir_is_not_much_larger_than_its_statements(server, tmp_path):
    assert upload("uploader.exs", server, tmp_path, "lambda").returncode == 0
    [request] = server.requests
    assert len(request[3]) < 1.3 * len(BODY)


# What Vector and Fluent Bit make of the time, the random part and the ending.
@pytest.mark.parametrize(
    "name",
    ["2025-10-01T00-00-15Z-30f6652c-71da-4f9f-800d-a1189c47c547", "2025-10-01T00-00-15Z_aB3dE5gH"],
)
def test_the_keys_of_agents_are_in_the_layout(name):
    assert is_valid("object_key", f"section/0/agent/{name}.jsonl")


@pytest.mark.parametrize("name", ["vector.yaml", "fluent-bit.yaml"])
def test_a_configuration_that_was_not_run_says_so(name):
    text = (EXAMPLES / name).read_text()
    assert "not run here" in " ".join(text.replace("#", " ").split())
    assert yaml.safe_load(text)


def test_fluent_bit_has_a_place_for_its_buffers_and_reads_files_from_their_start():
    [agent] = yaml.safe_load_all((EXAMPLES / "fluent-bit.yaml").read_text())
    assert agent["service"]["storage.path"]
    assert agent["pipeline"]["inputs"][0]["read_from_head"] is True
