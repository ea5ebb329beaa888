"""The experiments that we ship: a plan without a key says what they cost, and their comments keep to it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from harness.experiment import matrix, spec
from tests.harness.test_doctor import closed_port

ROOT = Path(__file__).parents[2]
LAST_RUN = ROOT / "experiments" / "gpt5_last_run.yaml"


def plan(name: str, *options: str) -> str:
    """What `plan` prints on a machine without a key, a server or an earlier run."""
    keys = ("OPENAI_API_KEY", "OPENAI_BASE_URL", "SEC_CONTACT")
    clean = {key: value for key, value in os.environ.items() if key not in keys}
    nowhere = {"OLLAMA_HOST": f"127.0.0.1:{closed_port()}", "COLUMNS": "100"}
    command = [sys.executable, "-m", "harness", "plan", f"experiments/{name}.yaml", "--results", "no-results-yet", *options]
    ended = subprocess.run(command, cwd=ROOT, env=clean | nowhere, capture_output=True, text=True, timeout=120, check=False)
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.fixture(scope="module")
def last_run() -> dict[str, Any]:
    return dict(json.loads(plan("gpt5_last_run", "--json")))


def test_a_plan_without_a_key_shows_the_bill_of_each_kind_of_arm() -> None:
    lines = plan("gpt5_vs_llama").splitlines()

    rows = {line.split()[0]: line for line in lines if line.strip()}
    assert "$" in rows["gpt-6.1-sol"]
    assert "$" in rows["gpt-6-luna"]
    assert "unknown" in rows["llama3.1-8b"], "what the machine costs is not declared"
    assert any(re.match(r"a decision +hosted: gpt-6\.1-sol \$.*, gpt-6-luna \$", line) for line in lines)
    assert any(line.strip() == "local: llama3.1-8b unknown" for line in lines)
    assert any(line.strip().startswith("hosted and local: hybrid $") for line in lines)
    assert any(line.startswith("cost") and "hosted models bill $" in line for line in lines)


def test_a_plan_names_hosted_models_that_undercut_a_local_machine(tmp_path: Path) -> None:
    (tmp_path / "servers.yaml").write_text("ollama: {provider: ollama, usd_per_gpu_hour: 1.2}\n")

    said = plan("gpt5_vs_llama", "--servers", str(tmp_path / "servers.yaml"))

    assert "cheaper than llama3.1-8b on its machine, although hosted: gpt-6-luna" in said


def test_the_last_run_costs_what_its_comment_says(last_run: dict[str, Any]) -> None:
    comment = " ".join(line for line in LAST_RUN.read_text().splitlines() if line.startswith("#"))
    about, most = (float(amount) for amount in re.findall(r"(?:about|at most) \$([\d.]+)", comment)[:2])

    assert last_run["cost_usd"]["mid"] == pytest.approx(about, rel=0.15)
    assert last_run["cost_usd"]["mid"] < most
    assert spec.load(LAST_RUN).budget.run_usd == most, "the budget holds what the comment promises"


def test_the_last_run_decides_each_case_three_times_and_asks_gpt_5_again(last_run: dict[str, Any]) -> None:
    assert {name: arm["cells"] for name, arm in last_run["arms"].items()} == {"gpt-5": 3 * 8 * 3, "gpt-5-mini": 3 * 8 * 3}
    assert last_run["again"]["gpt-5 > gpt-5"]["cells"] == 3 * 8 * 3


def test_the_replacements_of_the_last_run_are_declared_and_cost_nothing(last_run: dict[str, Any]) -> None:
    experiment = spec.load(LAST_RUN)

    assert {"gpt-6.1-sol", "gpt-6-luna", "llama3.1-8b"} <= set(experiment.models)
    assert matrix.asked_models(experiment) == ("gpt-5", "gpt-5-mini")
    assert set(last_run["models"]) == {"gpt-5", "gpt-5-mini"}


@pytest.mark.parametrize(("name", "cells"), [("gpt5_vs_llama", 28 * 3 * 3), ("quick", 17 * 3 * 3)])
def test_a_shipped_comparison_settles_good_enough_within_its_budget(name: str, cells: int) -> None:
    made = json.loads(plan(name, "--json"))

    assert {arm["cells"] for arm in made["arms"].values()} == {cells}
    assert made["answers"]["good_enough"] >= 0.8
    path = ROOT / "experiments" / f"{name}.yaml"
    assert made["api_cost_usd"]["high"] <= spec.load(path).budget.run_usd
    about = re.search(r"about \$(\d+)", path.read_text())
    assert about is not None
    assert made["api_cost_usd"]["mid"] == pytest.approx(float(about[1]), rel=0.1)


@pytest.mark.parametrize("path", sorted((ROOT / "experiments").glob("*.yaml")), ids=lambda path: path.stem)
def test_every_shipped_experiment_writes_its_repeats_out(path: Path) -> None:
    text = path.read_text()
    assert "\nrepeats:" in text or "\ntickers:" not in text
