#!/bin/sh
# Deploys the pipeline to AWS; see deploy.py. PYTHON=... chooses another interpreter.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
python=${PYTHON:-$root/.venv/bin/python}
[ -n "${PYTHON:-}" ] || [ -x "$python" ] || python=python3

exec "$python" "$root/lambda/deploy.py" "$@"
