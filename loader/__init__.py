"""xAPI statements from S3 into ClickHouse: settings, objects, the ledger and the commands."""

import sys

# Older versions can read as far as this.
if sys.version_info < (3, 11):  # noqa: UP036
    raise SystemExit(
        "xapi-elt needs Python 3.11 or newer, and this is "
        f"{sys.version_info[0]}.{sys.version_info[1]}; make install PYTHON=python3.11 uses another"
    )
