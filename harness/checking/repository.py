"""What does not belong in a git repository: committed results, keys and large files, in the tree and in all history."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path

from harness.checking.checks import Check, fail, ok, warn
from harness.errors import InvalidInput, Problem

MOST_BYTES = 5_000_000
"""A larger file is reported."""
_MOST_READ = 2_000_000
"""Only smaller files are searched for keys."""
_READ_TOGETHER = 50
"""Files that are read at a time."""
_MOST_NAMED = 5
_RESULTS = ("results/*", "*/results/*", "snapshots/*", "*/snapshots/*", "*.cell.parquet")
_KEY = re.compile(
    rb"\b(?:sk-(?!test-|fake-)(?=[A-Za-z_-]*[0-9])[A-Za-z0-9_-]{20,}|AKIA[A-Z0-9]{16}|AIza[A-Za-z0-9_-]{35}|ghp_[A-Za-z0-9]{36}|hf_[A-Za-z0-9]{30,})"
)
"""Keys of OpenAI, Anthropic, OpenRouter, AWS, Google, GitHub and Hugging Face, without placeholders such as sk-test-..."""
_REMOVE = "docs/results-out-of-git.md removes them from the history"
_ROTATE = "revoke the key at its provider and make a new one; then remove it from the history (docs/results-out-of-git.md)"


@dataclass(frozen=True)
class Blob:
    """One version of one file."""

    sha: str
    path: str
    size: int


def checks(folder: Path, *, only_staged: bool = False) -> list[Check]:
    """Look at the whole history, or only at what the next commit holds. Raises InvalidInput outside a repository."""
    root = _root(folder)
    present = _sized(root, _staged(root) if only_staged else _tracked(root))
    past = [] if only_staged else _not_in(_sized(root, _history(root)), present)
    where = "staged" if only_staged else "in the present tree"
    found = [*_problems(root, present, where), *_problems(root, past, "in the history")]
    found = found or [ok("repository", f"no results, keys or files above {MOST_BYTES / 1e6:g} MB in {root}")]
    if not only_staged and _git(root, "rev-parse", "--is-shallow-repository").strip() == b"true":
        found.append(warn("history", "a shallow clone: older commits were not searched", "git fetch --unshallow"))
    return found


def _problems(root: Path, blobs: list[Blob], where: str) -> Iterator[Check]:
    results = [blob for blob in blobs if any(fnmatchcase(blob.path, pattern) for pattern in _RESULTS)]
    if results:
        yield fail(f"results {where}", _named(results), _REMOVE)
    large = [blob for blob in blobs if blob.size > MOST_BYTES and blob not in results]
    if large:
        yield fail(f"large files {where}", _named(large), _REMOVE)
    small = [blob for blob in blobs if blob.size <= _MOST_READ]
    with_keys = [blob for blob, content in _contents(root, small) if _KEY.search(content)]
    if with_keys:
        yield fail(f"keys {where}", _named(with_keys), _ROTATE)


def _named(blobs: list[Blob]) -> str:
    """Count, size and the largest files; never what is in them."""
    largest = sorted(blobs, key=lambda blob: -blob.size)
    names = list(dict.fromkeys(blob.path for blob in largest))
    more = f" and {len(names) - _MOST_NAMED:,} more" if len(names) > _MOST_NAMED else ""
    megabytes = sum(blob.size for blob in blobs) / 1e6
    versions = f"{len(blobs):,} version{'s' if len(blobs) > 1 else ''}"
    return f"{versions} of files, {megabytes:,.1f} MB uncompressed: {', '.join(names[:_MOST_NAMED])}{more}"


# --- git ----------------------------------------------------------------------------------------------------------------


def _git(root: Path, *arguments: str, given: str | None = None) -> bytes:
    done = subprocess.run(
        ["git", "-C", str(root), *arguments], input=None if given is None else given.encode(), capture_output=True, check=False
    )
    if done.returncode:
        reason = done.stderr.decode(errors="replace").strip().splitlines() or [f"exit code {done.returncode}"]
        raise InvalidInput([Problem("git", f"git {arguments[0]} failed in {root}: {reason[0]}", "check the repository")])
    return done.stdout


def _root(folder: Path) -> Path:
    try:
        return Path(_git(folder, "rev-parse", "--show-toplevel").decode().strip())
    except FileNotFoundError as error:
        raise InvalidInput([Problem("git", "git is not installed", "install git")]) from error
    except InvalidInput as error:
        raise InvalidInput([Problem(str(folder), "this is not inside a git repository", "name one: --repo DIR")]) from error


def _tracked(root: Path) -> Iterator[tuple[str, str]]:
    for entry in _git(root, "ls-files", "--stage", "-z").split(b"\0"):
        if entry:
            meta, _, path = entry.partition(b"\t")
            yield meta.split()[1].decode(), path.decode(errors="replace")


def _staged(root: Path) -> Iterator[tuple[str, str]]:
    changed = set(_git(root, "diff", "--cached", "--name-only", "--diff-filter=d", "-z").decode(errors="replace").split("\0"))
    return ((sha, path) for sha, path in _tracked(root) if path in changed)


def _history(root: Path) -> Iterator[tuple[str, str]]:
    for line in _git(root, "rev-list", "--objects", "--all").splitlines():
        sha, _, path = line.partition(b" ")
        if path:
            yield sha.decode(), path.decode(errors="replace")


def _sized(root: Path, objects: Iterable[tuple[str, str]]) -> list[Blob]:
    """The files among these objects, with their sizes; submodules and folders are left out."""
    named = list(objects)
    shas = "".join(f"{sha}\n" for sha, _ in named)
    answers = _git(root, "cat-file", "--batch-check", given=shas).decode().splitlines() if named else []
    kinds = [answer.split() for answer in answers]
    return [Blob(sha, path, int(kind[2])) for (sha, path), kind in zip(named, kinds, strict=True) if kind[1] == "blob"]


def _not_in(blobs: list[Blob], present: list[Blob]) -> list[Blob]:
    known = {blob.sha for blob in present}
    return [blob for blob in blobs if blob.sha not in known]


def _contents(root: Path, blobs: list[Blob]) -> Iterator[tuple[Blob, bytes]]:
    """Each file with its bytes, some at a time."""
    for first in range(0, len(blobs), _READ_TOGETHER):
        chunk = blobs[first : first + _READ_TOGETHER]
        raw, at = _git(root, "cat-file", "--batch", given="".join(f"{blob.sha}\n" for blob in chunk)), 0
        for blob in chunk:
            start = raw.index(b"\n", at) + 1
            yield blob, raw[start : start + blob.size]
            at = start + blob.size + 1
