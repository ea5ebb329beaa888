"""The documentation site: built without a warning, with a reference that names every key, column and command."""

from __future__ import annotations

import http.server
import re
import subprocess
import sys
import threading
import tomllib
from pathlib import Path
from typing import Any

import pytest

from harness.cli import COMMANDS
from harness.experiment import spec
from harness.service import experiment_routes, job_routes
from reports.tables import TABLES

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("docs") / "build"
    ended = subprocess.run(
        [sys.executable, "docs/build.py", str(folder)], cwd=ROOT, capture_output=True, text=True, timeout=120, check=False
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return folder


def test_every_page_of_docs_is_in_the_navigation() -> None:
    nav = tomllib.loads((ROOT / "docs" / "zensical.toml").read_text())["project"]["nav"]

    assert {page.name for page in (ROOT / "docs").glob("*.md")} - set(_files(nav)) == set()


def _files(entries: list[dict[str, Any]]) -> list[str]:
    values = [value for entry in entries for value in entry.values()]
    return [file for value in values for file in (_files(value) if isinstance(value, list) else [value])]


def test_the_reference_names_every_key_column_and_command(built: Path) -> None:
    pages = {
        name: (built / "docs" / "reference" / f"{name}.md").read_text() for name in ("experiment", "tables", "commands", "http")
    }

    assert [key for key in spec.schema()["properties"] if f"| `{key}` |" not in pages["experiment"]] == []
    columns = [column.name for schema in TABLES.values() for column in schema]
    assert [name for name in columns if f"| `{name}` |" not in pages["tables"]] == []
    assert [name for name, _ in COMMANDS if f"## {name}" not in pages["commands"]] == []
    routes: list[Any] = [*job_routes.router.routes, *experiment_routes.router.routes]
    paths = {f"{method} {route.path}" for route in routes if route.include_in_schema for method in route.methods}
    assert [path for path in paths if f"## {path}" not in pages["http"]] == []


def test_the_site_has_its_pages_and_loads_nothing_from_another_host(built: Path) -> None:
    pages = list((built / "site").rglob("*.html"))

    assert {"concepts", "costs", "troubleshooting"} <= {path.parent.name for path in pages}
    loads = re.compile(r'<(?:script|img|iframe)[^>]*\bsrc="https?:|<link[^>]*rel="stylesheet"[^>]*href="https?:')
    assert [path.name for path in pages if loads.search(path.read_text())] == []


def test_a_broken_external_link_is_named_with_its_page(tmp_path: Path) -> None:
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), http.server.SimpleHTTPRequestHandler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        address = f"http://127.0.0.1:{server.server_port}"
        (tmp_path / "page.md").write_text(f"[here]({address}/) [gone]({address}/gone#part)")
        ended = subprocess.run(
            [sys.executable, "docs/external_links.py", tmp_path / "page.md"],
            cwd=ROOT, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip
        server.shutdown()
    assert ended.returncode == 1
    assert f"{address}/gone (page.md): HTTP 404\n2 external links, 1 broken" in ended.stdout
