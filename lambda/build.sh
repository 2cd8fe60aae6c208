#!/bin/sh
# Builds build/xapi-elt-lambda.zip; see make_zip.py. PYTHON=... chooses another interpreter.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-$root/.venv/bin/python}
[ -n "${PYTHON:-}" ] || [ -x "$python" ] || python=python3

exec "$python" "$root/lambda/make_zip.py" "$@"
