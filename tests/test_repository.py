"""What stands in the repository: no results, no models, no secrets, and a README that is true."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
LARGEST = 1_000_000


def _tracked() -> list[str]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    return [name for name in listed.stdout.splitlines() if (ROOT / name).is_file()]


def test_results_snapshots_and_models_never_enter_git() -> None:
    wrong = [
        name
        for name in _tracked()
        if name.startswith(("results/", "snapshots/")) or name.endswith((".gguf", ".parquet", ".sock")) or name.endswith(".env")
    ]
    assert wrong == []


def test_git_ignores_what_runs_leave() -> None:
    left = ["results/x/cells.parquet", "snapshots/a.json", "model.gguf", ".env", "experiments/.env", "experiments/servers.yaml"]
    checked = subprocess.run(["git", "check-ignore", *left], cwd=ROOT, capture_output=True, text=True)
    assert checked.stdout.split() == left


def test_no_large_file_is_tracked() -> None:
    assert [name for name in _tracked() if (ROOT / name).stat().st_size > LARGEST] == []


def test_nothing_that_looks_like_a_key_is_tracked() -> None:
    found = [name for name in _tracked() if re.search(rb"sk-(?:proj-)?[A-Za-z0-9]{32,}", (ROOT / name).read_bytes())]
    assert found == []


def test_every_file_that_the_documents_link_exists() -> None:
    documents = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
    missing = [
        f"{document.name}: {target}"
        for document in documents
        for target in re.findall(r"\]\(([^)#:]+)\)", document.read_text())
        if not (document.parent / target).exists()
    ]
    assert missing == []


def test_every_command_of_the_readme_exists() -> None:
    from harness.cli import COMMANDS

    named = set(re.findall(r"python -m harness (\w+)", (ROOT / "README.md").read_text()))
    assert named <= {name for name, _ in COMMANDS}


@pytest.mark.parametrize("extra", ["run", "dev"])
def test_lock_files_pin_every_package_by_hash(extra: str) -> None:
    text = (ROOT / "requirements" / f"{extra}.lock").read_text()
    entries = re.findall(r"^[a-z0-9][^\n]*==[^\n]*\\\n((?:    --hash=[^\n]+\n)+)", text, re.MULTILINE)
    assert len(entries) == len(re.findall(r"^[a-z0-9][^\n]*==", text, re.MULTILINE)) > 50


def test_help_answers_without_heavy_imports() -> None:
    heavy = ("langchain_core", "pandas", "yfinance", "dramatiq")
    code = f"import sys, harness.cli as c; c.build(); print([name for name in {heavy} if name in sys.modules])"
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert said.stdout.strip() == "[]"


def test_the_readme_s_duckdb_queries_run_on_a_run_s_tables(tmp_path: Path) -> None:
    import duckdb

    from reports.load import load
    from reports.metrics import catalog
    from tests.reports.synthetic import make_tables

    run = load(make_tables(tmp_path / "results" / "smoke" / "run", repeats=2))
    block = re.search(r"```sql\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert block is not None
    queries = [query for query in block[1].replace("results/", f"{tmp_path}/results/").split(";") if query.strip()]
    answers = [duckdb.execute(query).fetchall() for query in queries]
    assert len(answers) == 3
    assert all(answers)
    assert dict(answers[0]) == {
        arm: pytest.approx(one.value) for arm, one in catalog.figures_by_arm(run, "cost_per_usable").items()
    }


def test_every_benchmark_starts_from_anywhere_and_finds_python_s_own_statistics(tmp_path: Path) -> None:
    """Python puts a script's folder first, and one of ours there is called statistics.py."""
    found = (ROOT / "benchmarks").glob("*.py")
    scripts = sorted(str(path) for path in found if 'if __name__ == "__main__"' in path.read_text())
    assert len(scripts) >= 10
    code = (
        "import importlib, runpy, sys\n"
        f"for path in {scripts!r}:\n"
        f"    sys.path[0] = {str(ROOT / 'benchmarks')!r}\n"
        "    sys.modules.pop('statistics', None)\n"
        "    runpy.run_path(path, run_name='benchmark')\n"
        "    print(hasattr(importlib.import_module('statistics'), 'fmean'))\n"
    )
    ended = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert ended.stdout.split() == ["True"] * len(scripts), ended.stderr


def test_no_two_files_import_each_other() -> None:
    import grimp

    graph = grimp.build_graph("agents", "domain", "harness", "reports", cache_dir=None)
    imports = {name: graph.find_modules_directly_imported_by(name) for name in graph.modules}
    circles = {tuple(sorted((one, other))) for one in imports for other in imports[one] if one in imports[other]}
    assert circles == set()
