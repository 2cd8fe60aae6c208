"""Memory bombs: small objects that take much memory to read, and how much was taken."""

import gzip
import io
import json
import re
from pathlib import Path

# Enough for ordinary small objects; a line of 1,200 MB needs three times its size.
LIMIT_MB = 192
LINE_MB = 1200

# What the loads of a bomb may add to the memory of the process that has the engine in it. The
# engine keeps memory that it has freed, so this is several times the limit; without a limit a bomb
# adds more than twice as much.
MOST_GROWTH_MB = 1600


def one_line(megabytes: int, before: bytes = b"") -> bytes:
    """A gzip of a few lines and then one very long line."""
    written = io.BytesIO()
    with gzip.GzipFile(fileobj=written, mode="wb", mtime=0) as file:
        file.write(before)
        for _ in range(megabytes):
            file.write(b"a" * 1024 * 1024)
    return written.getvalue()


BOMB = one_line(LINE_MB)


def many_values(count: int) -> list[bytes]:
    """Lines that hold many values each. If each value got a copy of its line, memory would be the
    product of both."""
    number, statement = b"1", b'{"verb":{"id":"%s"}}' % (b"v" * 1000)
    text = json.dumps({"message": f"[{','.join(['2'] * count)}]"}).encode()
    return [
        b"[%s]" % b",".join([number] * count),
        b'{"statements":[%s]}' % b",".join([statement] * (count // 20)),
        text,
        b"{}" * count,
        b"[%s" % b",".join([b'{"a":1e999}'] * (count // 10)),
    ]


def peak() -> int:
    """The most memory that this process has had resident, in MiB."""
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) // 1024
