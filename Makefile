# Every target does its own set-up. `make demo` shows the pipeline, `make test` proves it.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready

.PHONY: demo test install lint bench e2e chaos clean

demo: $(READY)
	$(BIN)/xapi-elt demo

test: $(READY)
	$(BIN)/python -m pytest $(PYTEST_ARGS)

install: $(READY)

# The project itself is installed as links, so that dbt finds the adapter and edits count at once.
$(READY): requirements.lock pyproject.toml
	$(PYTHON) -m venv $(VENV)
	$(BIN)/pip install --quiet --disable-pip-version-check --requirement requirements.lock
	$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation \
		--config-settings editable_mode=compat --editable .
	touch $@

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

clean:
	rm -rf $(VENV) .venv-ministack .data build target logs dbt_project/target dbt_project/logs
	rm -rf *.egg-info .pytest_cache .ruff_cache .hypothesis
