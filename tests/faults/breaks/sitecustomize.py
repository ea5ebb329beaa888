"""Breaks a process of a stage from inside: Python imports this file at start-up when its folder is on PYTHONPATH.

BREAKS names a folder of files, each one break that happens once: `die`, `die after` at a rename of a file whose name ends so.
CLOCK names a file that holds seconds by which this process's wall clock is off.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path
from typing import Any


def _break_renames(folder: Path) -> None:
    replace = os.replace

    def replaced(source: Any, target: Any, **options: Any) -> None:
        if _taken(folder, f"die {target}"):
            os.kill(os.getpid(), signal.SIGKILL)
        replace(source, target, **options)
        if _taken(folder, f"die after {target}"):
            os.kill(os.getpid(), signal.SIGKILL)

    setattr(os, "replace", replaced)  # noqa: B010


def _taken(folder: Path, what: str) -> bool:
    """Whether a break of this kind is left; it is used up."""
    for path in folder.iterdir():
        kind, _, ending = path.read_text().rpartition(" ") if path.exists() else ("", "", "")
        if kind and what.startswith(f"{kind} /") and what.endswith(ending):
            try:
                path.unlink()
            except FileNotFoundError:
                continue
            return True
    return False


def _bend_clock(path: Path) -> None:
    real = time.time

    def bent() -> float:
        try:
            return real() + float(path.read_text() or 0)
        except (OSError, ValueError):
            return real()

    time.time = bent


if breaks := os.environ.get("BREAKS"):
    _break_renames(Path(breaks))
if clock := os.environ.get("CLOCK"):
    _bend_clock(Path(clock))
