# Every target installs what it needs. `make demo` shows the pipeline, `make test` tests it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
STAND_IN := .venv-ministack/.ready
BROWSER := $(VENV)/.ready-browser
SUPERSET := .venv-superset/.ready
ENGINES := 25.8 26.1 26.3 26.5 26.7

# Only files with the hashes of a lock are installed, and nothing that is not in it: older pips
# refuse the hash of a package that another one asks for with an extra, unless told --no-deps.
PIP_FLAGS := --quiet --disable-pip-version-check --require-hashes --no-deps

.PHONY: demo quick test proofs rights install lint bench e2e engines chaos mutations browser screenshots \
	superset clean

demo: $(READY)
	$(BIN)/xapi-elt demo

# The unit tests alone: no engine, no dbt, less than a minute.
quick: $(READY)
	$(BIN)/python -m pytest tests/unit -m "not long" $(PYTEST_ARGS)

# Two files at a time; each worker is a process with its own database and S3.
TWO_AT_A_TIME := --numprocesses 2 --dist loadfile --no-loadscope-reorder \
	--ignore tests/e2e --ignore tests/engines --ignore tests/superset

# Unit tests, the loader, the models and a bounded part of the fault injection: all tests that are
# not marked `long`.
test: $(READY)
	$(BIN)/python -m pytest $(TWO_AT_A_TIME) -m "not long" $(PYTEST_ARGS)

# The tests that are marked `long`: further variants of what `make test` proves.
proofs: $(READY)
	$(BIN)/python -m pytest $(TWO_AT_A_TIME) -m long $(PYTEST_ARGS)

# Runs every command under every role, with the rights that `xapi-elt grants` prints.
rights: $(READY)
	$(BIN)/python -m pytest tests/loader/test_roles.py $(PYTEST_ARGS)

# Deploys the real template and the real zip into a local stand-in for AWS.
e2e: $(READY) $(STAND_IN)
	$(BIN)/python -m pytest tests/e2e $(PYTEST_ARGS)

# Checks that older engines give the same events as the newest; each has its own virtual environment.
# To run the faults on one of them: XAPI_TEST_ENGINE=25.8 make chaos CHAOS_ARGS="--only server".
engines: $(READY) $(ENGINES:%=.venv-engines/%/.ready)
	$(BIN)/python -m pytest tests/engines $(PYTEST_ARGS)

# Opens the pages of `xapi-elt report` in a real browser.
browser: $(READY) $(BROWSER)
	$(BIN)/python -m pytest tests/browser $(PYTEST_ARGS)

# The pictures of docs/pages.md, of the pages of the demo's sections.
screenshots: $(READY) $(BROWSER)
	$(BIN)/python -m tests.browser.screenshots docs/img

# Imports the dashboards of dbt_project/superset into a real Superset and compares each chart's data
# with the marts.
superset: $(READY) $(SUPERSET)
	$(BIN)/python -m pytest tests/superset $(PYTEST_ARGS)

# Compares the pipeline with common alternatives: writes bench/README.md and bench/results.json.
# BENCH_ARGS="--size huge" measures growth to a hundred million events: bench/growth.md.
bench: $(READY) $(STAND_IN)
	@command -v nginx >/dev/null || test -x /usr/sbin/nginx || { test "$$(id -u)" = 0 && \
		apt-get update --quiet --quiet && \
		apt-get install --quiet --quiet --yes --no-install-recommends nginx-light; } || \
		{ echo "make bench needs nginx: apt-get install nginx-light"; exit 1; }
	$(BIN)/pip install $(PIP_FLAGS) --requirement bench/requirements.txt
	$(BIN)/python -m bench.run $(BENCH_ARGS)

# The long version of the fault tests of `make test`: components fail at random moments, and no line
# may be lost or duplicated. Options: CHAOS_ARGS="--seed 7 --runs 100 --only load".
chaos: $(READY)
	$(BIN)/python -m tests.chaos.run $(CHAOS_ARGS)
	XAPI_CHAOS=1 $(BIN)/python -m pytest tests/chaos/test_kill_backfill.py \
		tests/chaos/test_fuzz.py tests/chaos/test_sequences.py tests/models/test_families.py \
		tests/models/test_video_marts.py tests/chaos/test_kill_erase.py $(PYTEST_ARGS)

# Removes one protection at a time from a copy of the project; a fault or a test must notice.
# Options: CHAOS_ARGS="--only gc".
mutations: $(READY)
	$(BIN)/python -m tests.chaos.mutations $(CHAOS_ARGS)

install: $(READY)

# The project itself is installed in editable mode, so that dbt finds the adapter and changes to the
# code take effect at once.
$(READY): requirements.lock pyproject.toml
	@echo "Installing once into $(VENV): about 1.6 GB on disk, a few minutes."
	@echo "1/3 Creating the virtual environment"
	@$(PYTHON) -m venv $(VENV)
	@echo "2/3 Installing ClickHouse (chDB), dbt and other packages: requirements.lock"
	@$(BIN)/pip install $(PIP_FLAGS) --requirement requirements.lock
	@echo "3/3 Installing this project"
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation \
		--config-settings editable_mode=compat --editable .
	@touch $@

# sqlfluff lints the SQL that dbt renders, for which dbt opens a database: a separate one.
lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/lint-imports
	XAPI_CHDB_PATH=build/lint $(BIN)/sqlfluff lint dbt_project/models dbt_project/data_tests

$(STAND_IN): Makefile tests/e2e/requirements.lock
	@echo "Installing the stand-in for AWS into .venv-ministack"
	$(PYTHON) -m venv .venv-ministack
	.venv-ministack/bin/pip install $(PIP_FLAGS) --requirement tests/e2e/requirements.lock
	touch $@

# Chromium with fonts for any script, from Debian; selenium and axe into the same environment.
$(BROWSER): Makefile tests/browser/requirements.lock $(READY)
	@command -v chromium >/dev/null && command -v chromedriver >/dev/null || { \
		test "$$(id -u)" = 0 && apt-get update --quiet --quiet && \
		apt-get install --quiet --quiet --yes --no-install-recommends \
			chromium chromium-driver fonts-noto-core fonts-noto-cjk; } || \
		{ echo "make browser needs: apt-get install chromium chromium-driver fonts-noto-cjk"; exit 1; }
	$(BIN)/pip install $(PIP_FLAGS) --requirement tests/browser/requirements.lock
	touch $@

$(SUPERSET): Makefile tests/superset/requirements.lock
	@echo "Installing Superset into .venv-superset: about 830 MB on disk"
	$(PYTHON) -m venv .venv-superset
	.venv-superset/bin/pip install $(PIP_FLAGS) --requirement tests/superset/requirements.lock
	touch $@

# Releases of ClickHouse, each in a release of chDB that contains it.
.venv-engines/%/.ready: Makefile tests/engines/locks/%.txt
	@echo "Installing ClickHouse $* into $(@D)"
	$(PYTHON) -m venv $(@D)
	$(@D)/bin/pip install $(PIP_FLAGS) --requirement tests/engines/locks/$*.txt
	touch $@

clean:
	rm -rf $(VENV) .venv-ministack .venv-superset .venv-engines .data build target logs dbt_project/target dbt_project/logs
	rm -rf *.egg-info .pytest_cache .ruff_cache .hypothesis
