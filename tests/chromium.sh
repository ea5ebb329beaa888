#!/bin/sh
# Gives the page tests a Chromium: the one on PATH, else Debian's package (as root), else Playwright's own.
# With --system-only it stops before the last, which needs the packages that are installed meanwhile.
set -u
cd "$(dirname "$0")/.."
if command -v chromium >/dev/null 2>&1; then exit 0; fi
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null 2>&1; then
    export DEBIAN_FRONTEND=noninteractive
    apt-get update -qq && apt-get install -y -qq chromium >/dev/null && exit 0
fi
if [ "${1:-}" = --system-only ]; then exit 0; fi
.venv/bin/python -m playwright install --with-deps chromium 2>/dev/null && exit 0
.venv/bin/python -m playwright install chromium && exit 0
echo "No Chromium for the page tests: install the package 'chromium' of your system, then run 'make test' again." >&2
exit 1
