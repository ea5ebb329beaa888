"""`doctor --repo` finds what does not belong in git, in tree and history; the documented command removes it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

KEY = "sk-proj-" + "a1B2" * 8


def git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.com", "-c", "init.defaultBranch=main"]
    return subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout


def commit(folder: Path, **files: bytes) -> None:
    """Commit files; `__` in a name is a folder, `_` before the ending a dot."""
    for name, content in files.items():
        path = folder / name.replace("__", "/").replace("_dot_", ".")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    git(folder, "add", "-A", "-f")
    git(folder, "commit", "-qm", "some work")


@pytest.fixture
def repository(tmp_path: Path) -> Path:
    """A repository with results and a key that were removed later, and a large file that is still there."""
    folder = tmp_path / "repo"
    folder.mkdir()
    git(folder, "init", "-q")
    commit(
        folder, README_dot_md=b"text", results__x__run__cells_dot_parquet=b"r" * 6_000_000, notes_dot_txt=f"k={KEY}".encode()
    )
    git(folder, "rm", "-rq", "results", "notes.txt")
    commit(folder, model_dot_bin=b"m" * 5_100_000)
    return folder


def doctor(folder: Path, *arguments: str) -> tuple[int, dict[str, str]]:
    """Exit code, and name -> what was found, of everything that failed."""
    command = [sys.executable, "-m", "harness", "doctor", "--repo", str(folder), "--json", *arguments]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    answer = json.loads(ended.stdout)
    assert KEY not in ended.stdout
    return ended.returncode, {check["name"]: check["found"] for check in answer["checks"] if check["status"] == "fail"}


def test_results_keys_and_large_files_are_found_in_tree_and_history(repository: Path) -> None:
    code, found = doctor(repository)

    assert code == 2
    assert set(found) == {"large files in the present tree", "results in the history", "keys in the history"}
    assert found["results in the history"] == "1 version of files, 6.0 MB uncompressed: results/x/run/cells.parquet"
    assert found["keys in the history"].endswith("notes.txt")


def test_the_documented_command_removes_them_from_the_history(repository: Path, tmp_path: Path) -> None:
    clean = tmp_path / "clean"
    git(tmp_path, "clone", "-q", "--no-local", str(repository), str(clean))
    before = sum(path.stat().st_size for path in repository.rglob("*") if path.is_file())

    remove = ["--invert-paths", "--path", "results", "--path", "snapshots", "--path", "notes.txt", "--path", "model.bin"]
    subprocess.run([sys.executable, "-m", "git_filter_repo", "--quiet", *remove], cwd=clean, check=True)

    assert doctor(clean) == (0, {})
    assert (clean / "README.md").read_text() == "text"
    assert sum(path.stat().st_size for path in clean.rglob("*") if path.is_file()) < before / 10


def test_a_hook_looks_at_the_next_commit_only(repository: Path) -> None:
    assert doctor(repository, "--staged") == (0, {})

    (repository / "results").mkdir()
    (repository / "results" / "new.parquet").write_bytes(b"x")
    git(repository, "add", "-f", "results")

    assert doctor(repository, "--staged") == (
        2,
        {"results staged": "1 version of files, 0.0 MB uncompressed: results/new.parquet"},
    )


def test_a_folder_outside_git_and_an_empty_repository_are_no_internal_error(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    git(tmp_path / "empty", "init", "-q")
    assert doctor(tmp_path / "empty") == (0, {})

    command = [sys.executable, "-m", "harness", "doctor", "--repo", str(tmp_path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert ended.returncode == 2
    assert "this is not inside a git repository" in ended.stderr
