"""`init`: its files are valid, run without a key, and replace nothing."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from harness.experiment import servers, spec


def harness(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "harness", *arguments], cwd=folder, capture_output=True, text=True, timeout=120, check=False
    )


@pytest.fixture
def project(tmp_path: Path) -> Path:
    ended = harness(tmp_path, "init", "mine")
    assert ended.returncode == 0, ended.stderr
    return tmp_path / "mine"


def test_every_file_of_a_new_project_is_valid(project: Path) -> None:
    written = {str(path.relative_to(project)) for path in project.rglob("*") if path.is_file()}
    assert written == {
        "demo.yaml",
        "compare.yaml",
        "servers.yaml",
        ".env.example",
        ".gitignore",
        ".github/workflows/compare.yml",
    }
    for name in ("demo.yaml", "compare.yaml"):
        assert servers.load(None, spec.load(project / name), project)
    assert {"results/", "snapshots/", ".env"} <= set((project / ".gitignore").read_text().splitlines())
    assert yaml.safe_load((project / ".github" / "workflows" / "compare.yml").read_text())["jobs"]


def test_the_demo_of_a_new_project_is_planned_without_a_key(project: Path) -> None:
    ended = harness(project, "plan", "demo.yaml")

    assert ended.returncode == 0, ended.stderr
    assert "no hosted model is asked" in ended.stdout or "$0" in ended.stdout


def test_existing_files_are_named_and_nothing_is_written(project: Path) -> None:
    (project / "demo.yaml").unlink()

    ended = harness(project, "init", ".")

    assert ended.returncode == 2
    assert "compare.yaml" in ended.stderr
    assert "nothing was written" in ended.stderr
    assert not (project / "demo.yaml").exists()
