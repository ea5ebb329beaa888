"""What docs/extending.md promises: additions touch the files that it names and no others, and its examples work."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml

from tests.fakes.process import FakeModels, fake_server

ROOT = Path(__file__).resolve().parents[1]
GUIDE = (ROOT / "docs" / "extending.md").read_text()
EXAMPLE = re.compile(r"^(Create|Append to|Add to `(\w+)` in) `([^`]+)`:\n\n```\w+\n(.*?)^```$", re.MULTILINE | re.DOTALL)
GENERATED = {"experiments/schema.json"}
EXPERIMENT: Mapping[str, Any] = {
    "name": "added",
    "tickers": ["AAPL"],
    "dates": ["2012-06-15"],
    "repeats": 1,
    "data": "steady",
    "pipeline": {"depth": "medium"},
    "prices": "prices.yaml",
    "models": {"acme-1": {"provider": "acme", "model": "acme-1"}, "acme-2": {"provider": "acme", "model": "acme-2"}},
    "compare": {"baseline": "acme-1", "metrics": {"restarted": {"margin": "5pp"}}},
    "budget": {"run_usd": 100},
    "gates": {"min_readable_share": 0.5},
    "outcomes": {"horizons": [1]},
}
CALLS_PER_CELL = 4 + 2 * 3 + 1 + 1 + 4 * 3 + 1
"""Analysts, bull and bear in three rounds, research manager, trader, four risk voices in three rounds, portfolio manager."""


@dataclass(frozen=True)
class Extended:
    """A copy of the repository with every example of the guide, and the folder in which it ran an experiment."""

    repository: Path
    folder: Path
    output: str = ""
    """What the run printed."""

    def harness(self, *arguments: str) -> str:
        """Output of `python -m harness ARGUMENTS` of the copy."""
        environment = os.environ | {"PYTHONPATH": str(self.repository), "ACME_API_KEY": "sk-acme", "COLUMNS": "160"}
        command = [sys.executable, "-m", "harness", *arguments]
        ended = subprocess.run(command, cwd=self.folder, env=environment, capture_output=True, text=True, timeout=120)
        assert ended.returncode == 0, f"exit code {ended.returncode}:\n{ended.stdout}\n{ended.stderr}"
        return ended.stdout

    @property
    def run(self) -> Path:
        (folder,) = (self.folder / "results" / "added").iterdir()
        return folder


@pytest.fixture(scope="module")
def extended(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Extended]:
    """The copy after a run of two cells on the fake model server; tests only read it."""
    if not (ROOT / ".git").exists():
        pytest.skip("no git checkout: nothing says which files belong to the repository")
    made = Extended(tmp_path_factory.mktemp("copy") / "repository", tmp_path_factory.mktemp("lab"))
    _copy_repository(made.repository)
    for _, place, file, text in EXAMPLE.findall(GUIDE):
        _apply(made.repository / file, place, text)
    made.harness("schema", "--write", str(made.repository / "experiments" / "schema.json"))
    with fake_server() as models:
        _write_experiment(made.folder, models)
        yield replace(made, output=made.harness("run", "added.yaml", "--yes"))


def _copy_repository(target: Path) -> None:
    listed = subprocess.run(["git", "ls-files", "-z"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    for name in filter(None, listed.split("\0")):
        if (ROOT / name).exists():
            (target / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, target / name)
    _git(target, "init", "--quiet")
    _git(target, "add", "--all")


def _git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, capture_output=True, text=True, check=True).stdout


def _apply(file: Path, place: str, text: str) -> None:
    """Create the file or append to it; with a place, insert at the end of this table or class."""
    if not place:
        old = f"{file.read_text()}\n\n" if file.exists() else ""
        file.write_text(old + text)
        return
    lines = file.read_text().splitlines(keepends=True)
    opening = next(number for number, line in enumerate(lines) if re.match(rf"(class )?{place}\b", line))
    end = next(number for number, line in enumerate(lines) if number > opening and line.strip() and not line[0].isspace())
    while not lines[end - 1].strip():
        end -= 1
    file.write_text("".join([*lines[:end], text, *lines[end:]]))


def _write_experiment(folder: Path, models: FakeModels) -> None:
    models.control(models=["acme-1", "acme-2"])
    servers = {"acme": {"provider": "acme", "url": f"{models.url}/v1", "api_key_env": "ACME_API_KEY", "hosted": True}}
    prices = {"version": "acme", "prices": [{"model": f"acme-{number}", "input": 1.0, "output": 10.0} for number in (1, 2)]}
    for name, value in (("added", EXPERIMENT), ("servers", servers), ("prices", prices)):
        (folder / f"{name}.yaml").write_text(yaml.safe_dump(dict(value), sort_keys=False))


def test_the_guide_names_every_file_that_its_examples_touch() -> None:
    table = GUIDE.partition("| to add | touch |")[2].partition("\n\n")[0]
    named = set(re.findall(r"`([\w./]+\.(?:py|md|html))`", table.replace("NN_NAME", "70_roles_asked")))
    patterns = {re.sub("NAME", r"\\w+", name) for name in named} | {r"harness/experiment/\w+\.py", r"reports/answer/gates\.py"}
    touched = {file for _, _, file, _ in EXAMPLE.findall(GUIDE)}

    assert len(touched) == 10
    assert [file for file in touched if not any(re.fullmatch(pattern, file) for pattern in patterns)] == []


def test_only_the_named_files_and_generated_ones_are_changed(extended: Extended) -> None:
    status = _git(extended.repository, "status", "--porcelain", "--untracked-files=all").splitlines()
    changed = {line[3:] for line in status if line[1] != " "}

    assert changed == {file for _, _, file, _ in EXAMPLE.findall(GUIDE)} | GENERATED


def test_a_new_role_speaks_in_every_round_and_its_words_are_sent_to_the_new_provider(extended: Extended) -> None:
    calls = pq.read_table(extended.run / "calls.parquet").to_pylist()
    cells = pq.read_table(extended.run / "cells.parquet").to_pylist()

    assert [cell["status"] for cell in cells] == ["ok", "ok"]
    assert len(calls) == 2 * CALLS_PER_CELL
    assert {call["provider"] for call in calls} == {"acme"}
    rounds = [call["round"] for call in calls if call["role"] == "quant" and call["arm"] == "acme-1"]
    assert sorted(rounds) == [1, 2, 3]


def test_a_plan_counts_the_rounds_of_a_new_role(extended: Extended) -> None:
    planned = {**EXPERIMENT, "name": "planned", "dates": ["2012-06-18"]}
    (extended.folder / "planned.yaml").write_text(yaml.safe_dump(planned, sort_keys=False))

    plan = json.loads(extended.harness("plan", "planned.yaml", "--json"))

    assert plan["calls"] == 2 * CALLS_PER_CELL


def test_a_case_page_shows_a_new_role_where_it_speaks(extended: Extended) -> None:
    page = (extended.run / "cases" / "AAPL@2012-06-15.html").read_text()
    stages = list(dict.fromkeys(re.findall(r'id="s-([\w-]+)"', page)))
    first = stages.index("aggressive-1")

    assert stages[first : first + 5] == ["aggressive-1", "conservative-1", "neutral-1", "quant-1", "aggressive-2"]


def test_a_report_shows_a_new_metric_section_and_gate(extended: Extended) -> None:
    (extended.run / "report.html").unlink()

    extended.harness("report", "added")
    page = (extended.run / "report.html").read_text()
    assert "Roles that were asked" in page
    assert "<li>quant: 6 requests</li>" in page
    assert "cells that were started again" in page
    assert "passed: min_readable_share" in extended.output


def test_a_new_command_answers(extended: Extended) -> None:
    assert extended.harness("flow").split()[-2:] == ["quant", "portfolio_manager"]
