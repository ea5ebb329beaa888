"""Files that an attached program wrote in one case: found by pattern, capped in size, and without secrets."""

from __future__ import annotations

import heapq
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness.experiment.attached import Attached

LARGEST_BYTES = 256 * 1024
MOST_BYTES = 1 << 20
"""Of all kept files of a case together."""
MOST_FILES = 20
_SHORTEST_SECRET = 6
_CLOCK_S = 0.02
"""How far the time stamps of files may lag behind the clock."""
MOST_NAMED = 5
_NOT_RESULTS = frozenset({"tmp", "venv", "env", "node_modules", "site-packages", "__pycache__", "caches"})
"""Folders, besides hidden ones, whose files are no results of a case."""


class Secrets:
    """What a program was given and no record may hold: the token of its address, and variables of this machine."""

    def __init__(self, token: str, env: Mapping[str, str], machine: Mapping[str, str]) -> None:
        passed_on = {value[1:]: machine[value[1:]] for value in env.values() if value.startswith("$") and value[1:] in machine}
        self._names = {token: "token"} | {value: name for name, value in passed_on.items() if len(value) >= _SHORTEST_SECRET}

    def removed(self, text: str) -> str:
        for secret, name in self._names.items():
            text = text.replace(secret, f"[{name}]")
        return text

    def removed_from(self, data: bytes) -> bytes:
        for secret, name in self._names.items():
            data = data.replace(secret.encode(), f"[{name}]".encode())
        return data


@dataclass(frozen=True)
class KeptFiles:
    """The files of one case."""

    contents: Mapping[str, bytes]
    """Path below the home or the program's folder -> content."""
    left_out: tuple[str, ...]
    """Paths of files that are too large or too many."""
    unmatched: tuple[str, ...] = ()
    """Patterns, as the experiment writes them, that no file of this case matches."""
    others: tuple[str, ...] = ()
    """Some files that the case wrote and no pattern matches; only if a pattern is unmatched."""

    def described(self, folder: str = "") -> dict[str, Any]:
        """What a receipt records of them; `folder`: where they lie below the folder of their cell."""
        prefix = f"{folder}/" if folder else ""
        described = {"kept": [prefix + name for name in sorted(self.contents)], "left_out": list(self.left_out)}
        return described | ({"unmatched": list(self.unmatched), "others": list(self.others)} if self.unmatched else {})


def read(program: Attached, values: Mapping[str, str], home: Path, started_at: float, secrets: Secrets) -> KeptFiles:
    """The files that `pipeline.keep` names and this case wrote; blocks while it reads.

    In the program's own folder, which cases share, only files changed since `started_at` (Unix time) count."""
    contents: dict[str, bytes] = {}
    left_out: list[str] = []
    unmatched: list[str] = []
    for written, pattern in zip(program.keep, program.kept(values), strict=True):
        root = home if pattern.startswith("~/") else program.folder
        changed_since = None if root is home else started_at - _CLOCK_S
        paths = list(_matching(root, pattern.removeprefix("~/"), changed_since))
        if not paths:
            unmatched.append(written)
        for path in paths:
            name = path.relative_to(root).as_posix()
            if name in contents or name in left_out:
                continue
            if not name.isprintable():
                # No page can link a name that is no text.
                left_out.append(name.encode("unicode_escape").decode())
                continue
            size = path.stat().st_size
            total = sum(map(len, contents.values())) + size
            if size > LARGEST_BYTES or total > MOST_BYTES or len(contents) >= MOST_FILES:
                left_out.append(name)
            else:
                contents[name] = secrets.removed_from(path.read_bytes())
    others = _written(program.folder, home, started_at, {*contents, *left_out}) if unmatched else ()
    return KeptFiles(contents, tuple(left_out[:MOST_FILES]), tuple(unmatched), tuple(map(secrets.removed, others)))


def _matching(root: Path, pattern: str, changed_since: float | None) -> Iterator[Path]:
    """Plain files below `root`; a link could lead out of it. `folder/**` means all files below it."""
    real_root = os.path.realpath(root)
    for path in sorted(root.glob(f"{pattern}/*" if pattern.endswith("**") else pattern)):
        is_inside = path.is_file() and os.path.realpath(path).startswith(real_root + os.sep) and not path.is_symlink()
        if is_inside and (changed_since is None or path.stat().st_mtime >= changed_since):
            yield path


def _written(folder: Path, home: Path, started_at: float, known: set[str]) -> list[str]:
    """Some files that the case wrote, as patterns name them: first those of its home."""
    private = (f"~/{name}" for name in _files(home, 0.0) if name not in known)
    shared = (name for name in _files(folder, started_at - _CLOCK_S) if name not in known)
    return (heapq.nsmallest(MOST_NAMED, private) + heapq.nsmallest(MOST_NAMED, shared))[:MOST_NAMED]


def _files(root: Path, changed_since: float) -> Iterator[str]:
    """Names of printable files changed since a time, without those of environments, caches and repositories."""
    for folder, folders, files in os.walk(root):
        folders[:] = [name for name in folders if not name.startswith(".") and name not in _NOT_RESULTS]
        for file in files:
            path = Path(folder, file)
            name = path.relative_to(root).as_posix()
            is_plain = path.is_file() and not path.is_symlink()
            if is_plain and name.isprintable() and path.stat().st_mtime >= changed_since:
                yield name
