"""Files that an attached program wrote in one case: found by pattern, capped in size, and without secrets."""

from __future__ import annotations

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

    def described(self, folder: str = "") -> dict[str, Any]:
        """What a receipt says of them; `folder`: where they lie below the folder of their cell."""
        prefix = f"{folder}/" if folder else ""
        return {"kept": [prefix + name for name in sorted(self.contents)], "left_out": list(self.left_out)}


def read(program: Attached, values: Mapping[str, str], home: Path, started_at: float, secrets: Secrets) -> KeptFiles:
    """The files that `pipeline.keep` names and this case wrote; blocks while it reads.

    In the program's own folder, which cases share, only files changed since `started_at` (Unix time) count."""
    contents: dict[str, bytes] = {}
    left_out: list[str] = []
    for pattern in program.kept(values):
        is_private = pattern.startswith("~/")
        root = home if is_private else program.folder
        for path in _matching(root, pattern.removeprefix("~/")):
            name = path.relative_to(root).as_posix()
            stat = path.stat()
            if name in contents or name in left_out or (not is_private and stat.st_mtime < started_at - _CLOCK_S):
                continue
            if not name.isprintable():
                # No page can link a name that is no text.
                left_out.append(name.encode("unicode_escape").decode())
                continue
            total = sum(map(len, contents.values())) + stat.st_size
            if stat.st_size > LARGEST_BYTES or total > MOST_BYTES or len(contents) >= MOST_FILES:
                left_out.append(name)
            else:
                contents[name] = secrets.removed_from(path.read_bytes())
    return KeptFiles(contents, tuple(left_out[:MOST_FILES]))


def _matching(root: Path, pattern: str) -> Iterator[Path]:
    """Plain files below `root`; a link could lead out of it."""
    real_root = os.path.realpath(root)
    for path in sorted(root.glob(pattern)):
        if path.is_file() and os.path.realpath(path).startswith(real_root + os.sep) and not path.is_symlink():
            yield path
