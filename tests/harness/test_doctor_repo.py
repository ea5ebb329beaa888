"""`doctor --repo` finds what does not belong in git, in tree and history; the documented command removes it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
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
        folder,
        README_dot_md=b"text",
        results__x__run__cells_dot_parquet=os.urandom(6_000_000),
        notes_dot_txt=f"k={KEY}".encode(),
    )
    git(folder, "rm", "-rq", "results", "notes.txt")
    commit(folder, model_dot_bin=os.urandom(5_100_000))
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


def test_the_documented_commands_remove_them_from_every_branch_and_tag_and_keep_the_rest(
    repository: Path, tmp_path: Path
) -> None:
    """The shared repository has branches besides the one that a clone checks out."""
    shared = tmp_path / "shared.git"
    git(repository, "branch", "feature", "HEAD~1")
    git(repository, "tag", "v1", "HEAD~1")
    git(tmp_path, "clone", "-q", "--mirror", str(repository), str(shared))
    size_before = size_of(shared)

    named = "--path snapshots --path notes.txt --path model.bin"
    commands = documented().replace("<URL>", str(shared)).replace("--path snapshots", named)
    script = commands.replace("harness doctor", f"{sys.executable} -m harness doctor")
    script = script.replace("git filter-repo", f"{sys.executable} -m git_filter_repo")
    ours = os.environ | {"PYTHONPATH": str(ROOT)}
    ended = subprocess.run(
        ["bash", "-euc", script], cwd=tmp_path, env=ours, capture_output=True, text=True, timeout=120, check=False
    )

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert doctor(clone := clone_of(shared, tmp_path)) == (0, {})
    assert git(clone, "ls-files") == "README.md\n"
    assert git(shared, "for-each-ref", "--format=%(refname)").split() == [
        "refs/heads/feature", "refs/heads/main", "refs/tags/v1",
    ]  # fmt: skip
    assert size_of(clone) < size_before / 10


def documented() -> str:
    """The commands of the steps "rewrite" and "publish"."""
    page = (ROOT / "docs" / "results-out-of-git.md").read_text()
    steps = page[page.index("## 3. ") :]
    return "\n".join(line[2:] for line in steps.splitlines() if line.startswith("$ "))


def clone_of(shared: Path, folder: Path) -> Path:
    git(folder, "clone", "-q", "--no-local", str(shared), str(folder / "again"))
    return folder / "again"


def size_of(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def test_a_repository_without_results_passes_with_what_was_searched(tmp_path: Path) -> None:
    folder = tmp_path / "plain"
    folder.mkdir()
    git(folder, "init", "-q")
    commit(
        folder,
        README_dot_md=b"our results are in S3",
        src__results_dot_py=b"KEY = 'sk-fake-key-of-the-model-server'",
        demo_dot_yaml=b"name: demo",
    )

    command = [sys.executable, "-m", "harness", "doctor", "--repo", str(folder)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert ended.stdout == f"ok   repository: no results, keys or files above 5 MB in {folder}\n"


def test_a_shallow_clone_reports_that_older_commits_were_not_searched(repository: Path, tmp_path: Path) -> None:
    shallow = tmp_path / "shallow"
    git(tmp_path, "clone", "-q", "--depth", "1", f"file://{repository}", str(shallow))

    command = [sys.executable, "-m", "harness", "doctor", "--repo", str(shallow)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    assert "warn history: a shallow clone: older commits were not searched\n       fix: git fetch --unshallow" in ended.stdout
    assert "results in the history" not in ended.stdout


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
