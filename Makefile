# Every target does its own set-up. `make demo` shows the pipeline, `make test` proves it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
STAND_IN := .venv-ministack/.ready
ENGINES := 25.8 26.1 26.3 26.5 26.7

# Only files with the hashes of a lock are installed, and nothing that is not in it: older pips
# refuse the hash of a package that another one asks for with an extra, unless told --no-deps.
PIP_FLAGS := --quiet --disable-pip-version-check --require-hashes --no-deps

.PHONY: demo test install lint bench e2e engines chaos mutations clean

demo: $(READY)
	$(BIN)/xapi-elt demo

# Two files at a time: each worker is a process with its own database and its own S3.
test: $(READY)
	$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --no-loadscope-reorder \
		--ignore tests/e2e --ignore tests/engines $(PYTEST_ARGS)

# The real template and the real zip, deployed into a local stand-in for AWS.
e2e: $(READY) $(STAND_IN)
	$(BIN)/python -m pytest tests/e2e $(PYTEST_ARGS)

# The same events on older engines as on the newest: each is installed with a Python of its own.
# The faults beside one of them: XAPI_TEST_ENGINE=25.8 make chaos CHAOS_ARGS="--only server".
engines: $(READY) $(ENGINES:%=.venv-engines/%/.ready)
	$(BIN)/python -m pytest tests/engines $(PYTEST_ARGS)

# The pipeline measured beside what people use instead: bench/README.md, bench/results.json.
bench: $(READY) $(STAND_IN)
	@command -v nginx >/dev/null || test -x /usr/sbin/nginx || { test "$$(id -u)" = 0 && \
		apt-get update --quiet --quiet && \
		apt-get install --quiet --quiet --yes --no-install-recommends nginx-light; } || \
		{ echo "make bench needs nginx: apt-get install nginx-light"; exit 1; }
	$(BIN)/pip install $(PIP_FLAGS) --requirement bench/requirements.txt
	$(BIN)/python -m bench.run $(BENCH_ARGS)

# The long run of what `make test` does in small: everything fails at random moments, and nothing
# may be lost or doubled. Options: CHAOS_ARGS="--seed 7 --runs 100 --only load".
chaos: $(READY)
	$(BIN)/python -m tests.chaos.run $(CHAOS_ARGS)
	XAPI_CHAOS=1 $(BIN)/python -m pytest tests/chaos/test_kill_backfill.py tests/chaos/test_fuzz.py $(PYTEST_ARGS)

# Copies of the project without one protection each: the faults must find it missing.
mutations: $(READY)
	$(BIN)/python -m tests.chaos.mutations $(CHAOS_ARGS)

install: $(READY)

# The project itself is installed as links, so that dbt finds the adapter and edits count at once.
$(READY): requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install $(PIP_FLAGS) --requirement requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation \
		--config-settings editable_mode=compat --editable .
	touch $@

# The SQL is linted as dbt renders it, which opens a database: one of its own.
lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	XAPI_CHDB_PATH=build/lint $(BIN)/sqlfluff lint dbt_project/models dbt_project/data_tests

$(STAND_IN): Makefile tests/e2e/requirements.lock
	$(PYTHON) -m venv .venv-ministack
	.venv-ministack/bin/pip install $(PIP_FLAGS) --requirement tests/e2e/requirements.lock
	touch $@

# Releases of ClickHouse, each in a release of chDB.
.venv-engines/%/.ready: Makefile tests/engines/locks/%.txt
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/pip install $(PIP_FLAGS) --requirement tests/engines/locks/$*.txt
	touch $@

clean:
	rm -rf $(VENV) .venv-ministack .venv-engines .data build target logs dbt_project/target dbt_project/logs
	rm -rf *.egg-info .pytest_cache .ruff_cache .hypothesis
