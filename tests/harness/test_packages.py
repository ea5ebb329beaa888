"""Packages of other projects under the names of ours: doctor names them, and no command ends in a traceback."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


def harness(foreign: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """The command line, with a folder of other packages before ours."""
    environment = os.environ | {"PYTHONPATH": f"{foreign}:{ROOT}"}
    command = [sys.executable, "-m", "harness", *arguments]
    return subprocess.run(command, cwd=foreign, env=environment, capture_output=True, text=True, timeout=60, check=False)


def install(folder: Path, name: str, distribution: str | None = None) -> Path:
    """Another project's package; with the metadata that an installer leaves, if it has a distribution."""
    (folder / name).mkdir(parents=True)
    (folder / name / "__init__.py").write_text("class Agent: ...\n")
    if distribution:
        metadata = folder / f"{distribution.replace('-', '_')}-0.24.0.dist-info"
        metadata.mkdir()
        (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {distribution}\nVersion: 0.24.0\n")
        (metadata / "RECORD").write_text(f"{name}/__init__.py,,\n")
    return folder


@pytest.mark.parametrize("name", ["agents", "domain", "reports"])
def test_doctor_names_a_foreign_package_and_says_how_to_fix_it(tmp_path: Path, name: str) -> None:
    ended = harness(install(tmp_path, name), "doctor", "--json")

    assert ended.returncode == 2, ended.stderr
    (check,) = json.loads(ended.stdout)["checks"]
    assert (check["name"], check["status"]) == (f"package {name}", "fail")
    assert str(tmp_path / name) in check["found"]
    assert str(ROOT / name) in check["found"]
    assert "an environment of its own" in check["fix"]


def test_the_distribution_that_a_foreign_package_comes_from_is_named(tmp_path: Path) -> None:
    ended = harness(install(tmp_path, "agents", "openai-agents"), "doctor")

    assert ended.returncode == 2
    assert "the one of openai-agents 0.24.0" in ended.stdout
    assert "Traceback" not in ended.stderr


def test_a_distribution_that_writes_into_the_folder_of_ours_is_named(tmp_path: Path) -> None:
    """As two wheels in one environment, of which the later overwrites files of the earlier."""
    shutil.copytree(ROOT / "harness", tmp_path / "harness", ignore=shutil.ignore_patterns("__pycache__"))
    for name in ("domain", "reports"):
        install(tmp_path, name, f"tradingagents-harness-{name}")
    install(tmp_path, "agents", "openai-agents")
    for metadata in tmp_path.glob("tradingagents*/METADATA"):
        metadata.write_text("Metadata-Version: 2.1\nName: tradingagents-harness\nVersion: 0.1.0\n")

    ended = harness(tmp_path, "doctor", "--json")

    (check,) = json.loads(ended.stdout)["checks"]
    assert check["found"] == f"openai-agents 0.24.0 also installs a package of this name into {tmp_path / 'agents'}"


@pytest.mark.parametrize("arguments", [["run", "x.yaml"], ["status"], ["plan", "x.yaml"]])
def test_every_other_command_says_so_too_without_a_traceback(tmp_path: Path, arguments: list[str]) -> None:
    ended = harness(install(tmp_path, "agents"), *arguments)

    assert ended.returncode == 2
    assert "package agents: `import agents` finds another project's" in ended.stderr
    assert "Traceback" not in ended.stderr
