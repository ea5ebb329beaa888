"""What stands in the repository: no results, no models, no secrets, and a README that is true."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import tomllib
from importlib.metadata import packages_distributions
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
    assert "servers.yaml" in _tracked(), "the one of the stack, which takes its values from .env"


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
    assert dict(answers[0]) == {arm: pytest.approx(one.value) for arm, one in catalog.figures_by_arm(run, "cost").items()}


_BENCHMARKS = sorted(path for path in (ROOT / "benchmarks").glob("*.py") if "__main__" in path.read_text())
_HELP_OF_EACH = """
import contextlib, io, runpy, sys
from importlib.abc import MetaPathFinder

class Missing(MetaPathFinder):
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in sys.argv[1].split(","):
            raise ModuleNotFoundError(f"{name} is not among the packages of a run")

sys.meta_path.insert(0, Missing())
sys.path[0] = sys.argv[2]
for script in sys.argv[3:]:
    sys.argv[1:] = ["--help"]
    with contextlib.redirect_stdout(io.StringIO()) as shown, contextlib.suppress(SystemExit):
        runpy.run_path(script, run_name="__main__")
    print(shown.getvalue().partition(" ")[0])
import statistics
print(statistics.fmean([1, 2]))
"""


def test_every_benchmark_starts_without_development_packages_and_hides_none_of_python_s_modules(tmp_path: Path) -> None:
    """One process: in each of their own, nearly all of the time would go into the same imports."""
    assert len(_BENCHMARKS) >= 12
    declared = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]["dev"]
    names = {re.split(r"[^\w-]", line)[0].lower() for line in declared}
    modules = {module for module, packages in packages_distributions().items() if {one.lower() for one in packages} & names}
    assert {"pytest", "playwright"} <= modules
    command = [sys.executable, "-c", _HELP_OF_EACH, ",".join(modules), str(ROOT / "benchmarks"), *map(str, _BENCHMARKS)]
    ended = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, env=os.environ | {"PYTHONPATH": str(ROOT)})
    assert ended.stdout.split() == ["usage:"] * len(_BENCHMARKS) + ["1.5"], ended.stderr


@pytest.mark.parametrize("path", _BENCHMARKS, ids=lambda path: path.stem)
def test_the_first_line_of_a_benchmark_names_its_command_and_what_installs_its_packages(path: Path) -> None:
    first = path.read_text().partition("\n")[0]
    assert re.match(rf'"""python (-m benchmarks\.{path.stem}|benchmarks/{path.stem}\.py) \(after `make (demo|test)`\)', first)


def test_no_two_files_import_each_other() -> None:
    import grimp

    graph = grimp.build_graph("agents", "domain", "harness", "reports", cache_dir=None)
    imports = {name: graph.find_modules_directly_imported_by(name) for name in graph.modules}
    circles = {tuple(sorted((one, other))) for one in imports for other in imports[one] if one in imports[other]}
    assert circles == set()


def test_the_readme_stays_short() -> None:
    assert len((ROOT / "README.md").read_text().splitlines()) <= 150
