"""What CI runs exists, and is pinned."""

from __future__ import annotations

import re
import subprocess
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).resolve().parent.parent
SCRIPT = (ROOT / ".ci" / "run").read_text()
MAKEFILE = (ROOT / "Makefile").read_text()


def _steps() -> list[dict[str, Any]]:
    workflow = yaml.safe_load((ROOT / ".github" / "workflows" / "ci.yml").read_text())
    return [step for job in workflow["jobs"].values() for step in job["steps"]]


def test_every_step_that_ci_runs_is_a_part_of_its_script() -> None:
    ended = subprocess.run(["bash", ".ci/run", "no such part"], cwd=ROOT, capture_output=True, text=True, check=False)
    known = re.search(r"known: ([\w, ]+);", ended.stderr)
    assert ended.returncode == 2
    assert known is not None
    assert [step["run"] for step in _steps() if "run" in step] == [f"bash .ci/run {part}" for part in known[1].split(", ")]


def test_every_target_of_the_script_stands_in_the_makefile() -> None:
    targets = set(re.findall(r"^ *make (\S+)$", SCRIPT, re.MULTILINE))
    assert {"test", "demo"} <= targets
    assert targets <= set(re.findall(r"^([\w./-]+):", MAKEFILE, re.MULTILINE))


WORKFLOWS = sorted((ROOT / ".github").rglob("*.yml"))


def test_actions_are_pinned_by_commit_and_say_their_version() -> None:
    used = [line for path in WORKFLOWS for line in path.read_text().splitlines() if re.match(r" *(- )?uses:", line)]
    assert len(used) >= len([step for step in _steps() if "uses" in step])
    assert [line for line in used if not re.search(r"uses: [\w/-]+@[0-9a-f]{40} # v\d+\.\d+\.\d+$", line)] == []


def test_a_release_publishes_the_wheel_that_the_same_script_has_tested() -> None:
    jobs = yaml.safe_load((ROOT / ".github" / "workflows" / "release.yml").read_text())["jobs"]
    assert "make wheel-test" in [step.get("run") for step in jobs["wheel"]["steps"]]
    assert jobs["draft"]["needs"] == "wheel"
    assert "make wheel-test" in SCRIPT
    assert ".ci/wheel-test dist" in MAKEFILE


def test_the_hook_for_other_repositories_runs_what_the_documented_local_hook_runs() -> None:
    (hook,) = yaml.safe_load((ROOT / ".pre-commit-hooks.yaml").read_text())
    text = (ROOT / "docs" / "results-out-of-git.md").read_text()
    assert f"id: {hook['id']}," in text
    assert f"entry: {hook['entry']}," in text


def test_modules_that_the_makefile_compiles_exist() -> None:
    (imported,) = re.findall(r"-c 'import (agents[^;]*);", MAKEFILE)
    assert [name for name in imported.split(", ") if find_spec(name) is None] == []
