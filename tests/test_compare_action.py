"""The composite action for other repositories: its steps run here, with the files and variables that a runner gives them."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.fixtures.runs import ROOT, Lab

ACTION = yaml.safe_load((ROOT / ".github" / "actions" / "compare" / "action.yml").read_text())
GH = """#!/usr/bin/env bash
echo "$*" >>"$GH_LOG"
case "$1 $2" in
  "run list") [[ -d "$GH_BASELINE" ]] && echo 7 ;;
  "run download") cp -r "$GH_BASELINE" "${@: -1}" ;;
  "pr comment") cp "$(sed 's/.*--body-file \\([^ ]*\\).*/\\1/' <<<"$*")" "$GH_COMMENT" ;;
esac
exit 0
"""


@dataclass
class Runner:
    """What a GitHub runner provides, and `harness` and `gh` on the path."""

    lab: Lab
    folder: Path
    inputs: dict[str, str]
    outputs: dict[str, dict[str, str]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in ("bin", "temp"):
            (self.folder / name).mkdir(parents=True)
        self._program("harness", f'#!/usr/bin/env bash\nexec "{sys.executable}" -m harness "$@"\n')
        self._program("gh", GH)

    def _program(self, name: str, text: str) -> None:
        path = self.folder / "bin" / name
        path.write_text(text)
        path.chmod(0o755)

    def play(self) -> int:
        """Run every step until one fails, as the runner does; returns the exit code of the last."""
        code = 0
        for step in ACTION["runs"]["steps"]:
            if "run" in step and self._holds(step.get("if", "")):
                code = self._run(step)
            if code:
                break
        return code

    def _run(self, step: dict[str, Any]) -> int:
        files = {name: self.folder / f"{name}-{step['name']}" for name in ("GITHUB_OUTPUT", "GITHUB_STEP_SUMMARY")}
        for file in files.values():
            file.touch()
        environment = os.environ | {name: self._filled(str(value)) for name, value in step.get("env", {}).items()}
        environment |= {name: str(file) for name, file in files.items()} | {
            "PATH": f"{self.folder / 'bin'}:{Path(sys.executable).parent}:{os.environ['PATH']}",
            "PYTHONPATH": f"{ROOT}:{self.lab.folder}",
            "FAKE_KEY": "sk-fake",
            "RUNNER_TEMP": str(self.folder / "temp"),
            "GITHUB_REPOSITORY": "acme/desk",
            "GITHUB_WORKFLOW_REF": "acme/desk/.github/workflows/compare.yml@refs/pull/3/merge",
            "GH_LOG": str(self.folder / "gh.log"),
            "GH_BASELINE": str(self.folder / "kept"),
            "GH_COMMENT": str(self.folder / "comment.md"),
        }
        command = ["bash", "--noprofile", "--norc", "-eo", "pipefail", "-c", step["run"]]
        ended = subprocess.run(
            command, cwd=self.lab.folder, env=environment, capture_output=True, text=True, timeout=180, check=False
        )
        lines = files["GITHUB_OUTPUT"].read_text().splitlines()
        self.outputs[step.get("id", step["name"])] = dict(line.split("=", 1) for line in lines)
        self.said = ended.stdout + ended.stderr
        return ended.returncode

    def _filled(self, text: str) -> str:
        values = {f"inputs.{name}": value for name, value in self.inputs.items()} | {"github.event.pull_request.number": "3"}
        values |= {
            f"steps.{step}.outputs.{name}": value for step, found in self.outputs.items() for name, value in found.items()
        }
        return re.sub(r"\$\{\{ ([\w.-]+) \}\}", lambda match: values.get(match[1], ""), text)

    def _holds(self, condition: str) -> bool:
        """The one form of condition that the action uses: NAME != ''."""
        name, _, rest = condition.partition(" != ")
        assert rest in ("", "''")
        return not name or bool(self._filled("${{ " + name + " }}"))


@pytest.fixture
def runner(lab: Lab, tmp_path: Path) -> Runner:
    lab.experiment(dates=3, gates={"usable": "-20pp"})
    given = {"experiment": "lab.yaml", "budget": "5", "package": "", "token": "t"}
    defaults = {name: str(part.get("default", "")) for name, part in ACTION["inputs"].items()}
    return Runner(lab, tmp_path / "runner", defaults | given)


def test_the_first_run_makes_the_baseline_and_a_worse_one_fails_and_is_commented(runner: Runner) -> None:
    assert runner.play() == 0, runner.said
    assert "against" not in runner.outputs["baseline"]
    assert "**Decisions:**" in (runner.folder / "comment.md").read_text()
    assert Path(runner.lab.folder, runner.outputs["run"]["report"]).is_file()
    assert "run list --repo acme/desk --workflow compare.yml --branch main" in (runner.folder / "gh.log").read_text()

    shutil.move(runner.lab.folder / "results", runner.folder / "kept")
    runner.lab.fake.control(rules=[{"do": {"text": "no decision at all"}, "contains": '"target_price"'}])

    assert runner.play() == 4
    assert "::error::a gate of the experiment failed" in runner.said
    assert runner.outputs["run"]["exit-code"] == "4"
    comment = (runner.folder / "comment.md").read_text()
    assert re.search(r"FAILED: usable for paid against \d+-\d+-\w+ changed by .100.0 pp over 3 common cases", comment)


def test_an_experiment_that_must_be_fixed_fails_with_its_error(runner: Runner) -> None:
    (runner.lab.folder / "lab.yaml").write_text("name: lab\n")

    assert runner.play() == 2
    assert runner.outputs["run"]["exit-code"] == "2"
    assert not (runner.folder / "comment.md").exists()


def test_inputs_reach_commands_as_variables_only() -> None:
    assert [step["name"] for step in ACTION["runs"]["steps"] if "${{" in step.get("run", "")] == []
