"""The Lambda's handler in a separate process: python lambda_process.py EVENT.json SECONDS.

Prints the handler's answer as its last line; the log is on the lines before.
"""

import json
import sys
import time
from pathlib import Path
from types import SimpleNamespace

ROOT = Path(__file__).resolve().parents[2]


def main(event: str, seconds: str) -> None:
    """Answer the event of a file within the seconds that an invocation has."""
    sys.path[:0] = [str(ROOT), str(ROOT / "lambda")]
    import handler

    ends = time.monotonic() + float(seconds)
    context = SimpleNamespace(
        get_remaining_time_in_millis=lambda: int((ends - time.monotonic()) * 1000)
    )
    print(json.dumps(handler.lambda_handler(json.loads(Path(event).read_bytes()), context)))


if __name__ == "__main__":
    main(*sys.argv[1:])
