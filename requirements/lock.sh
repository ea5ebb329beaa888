#!/bin/sh
# Renews the lock files: run it after a change in pyproject.toml or in one of the *.in files.
set -eu
cd "$(dirname "$0")/.."
lock() { .venv/bin/uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --no-header "$@"; }
lock requirements/tools.in -o requirements/tools.lock
lock --extra dev pyproject.toml -o requirements/dev.lock
lock -c requirements/dev.lock pyproject.toml -o requirements/run.lock
lock --no-deps requirements/models.in -o requirements/models.lock
