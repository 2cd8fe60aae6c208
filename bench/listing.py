"""A bucket that lists keys and has no objects, for `xapi-elt reconcile`: nginx cannot list."""

from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import islice
from pathlib import Path
from threading import Thread
from urllib.parse import parse_qs, urlsplit

PAGE = 1_000
_CONTENTS = (
    "<Contents><Key>{}</Key><LastModified>2025-01-01T00:00:00.000Z</LastModified>"
    '<ETag>"v1"</ETag><Size>1</Size></Contents>'
)


@contextmanager
def serve_listing(keys: Path) -> Iterator[str]:
    """Answer every ListObjectsV2 with all keys, a thousand per page.

    Args:
        keys: a file of them, one per line, sorted by their bytes. A continuation token is a
            position in it.

    Yields:
        http://127.0.0.1:port.
    """
    server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"keys": keys}))
    Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


class _Handler(BaseHTTPRequestHandler):
    keys: Path
    protocol_version = "HTTP/1.1"  # boto3 keeps its connection

    def do_GET(self) -> None:
        """Answer with one page."""
        query = parse_qs(urlsplit(self.path).query)
        with self.keys.open("rb") as file:
            file.seek(int(query.get("continuation-token", ["0"])[0]))
            page = [line.decode().rstrip("\n") for line in islice(file, PAGE)]
            end = file.tell()
        is_last = end == self.keys.stat().st_size
        more = "" if is_last else f"<NextContinuationToken>{end}</NextContinuationToken>"
        contents = "".join(_CONTENTS.format(escape(key)) for key in page)
        body = (
            '<?xml version="1.0" encoding="UTF-8"?>'
            '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/">'
            f"<IsTruncated>{str(not is_last).lower()}</IsTruncated>{more}{contents}"
            "</ListBucketResult>"
        ).encode()
        self.send_response(200)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Say nothing."""
