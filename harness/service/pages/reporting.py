"""Reports of runs that go on: written again, by a process of their own, when the run has more than they show."""

from __future__ import annotations

import asyncio
import os
import sys
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from harness.storage.store import RECEIPT

if TYPE_CHECKING:
    from harness.storage.run_folder import RunFolder

REPORT = "report.html"
_LEAST_PAUSE_S = 30.0
_SHARE = 10.0
"""A report is written again after so many times the time that it took."""
_MOST_CASES = "50"


@dataclass(frozen=True)
class ReportState:
    """The report of a run at one moment."""

    written_at: float | None
    """Unix seconds; None: there is none yet."""
    is_renewing: bool
    problem: str = ""


@dataclass
class Reporting:
    """Writes the reports of one results folder, one at a time."""

    results: str
    _next_at: dict[str, float] = field(default_factory=dict, init=False)
    _problems: dict[str, str] = field(default_factory=dict, init=False)
    _tasks: dict[str, asyncio.Task[None]] = field(default_factory=dict, init=False)
    _one_at_a_time: asyncio.Lock = field(default_factory=asyncio.Lock, init=False)

    async def renewed(self, run: RunFolder) -> ReportState:
        """The state of a run's report; starts to write it if the run has ended decisions that are newer."""
        name = f"{run.experiment}/{run.run_id}"
        written_at, newest_at = await asyncio.to_thread(_times, run)
        is_old = newest_at is not None and (written_at is None or newest_at > written_at)
        if is_old and name not in self._tasks and time.monotonic() >= self._next_at.get(name, 0.0):
            self._tasks[name] = asyncio.create_task(self._write(name))
        return ReportState(written_at, name in self._tasks, self._problems.get(name, ""))

    async def _write(self, name: str) -> None:
        try:
            async with self._one_at_a_time:
                began = time.monotonic()
                self._problems[name] = await self._run(name)
                took_s = time.monotonic() - began
            self._next_at[name] = time.monotonic() + max(_LEAST_PAUSE_S, _SHARE * took_s)
        finally:
            del self._tasks[name]

    async def _run(self, name: str) -> str:
        """Why it failed; empty if it was written."""
        command = ["-m", "harness", "report", name, "--results", self.results, "--cases", _MOST_CASES]
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            *command,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            preexec_fn=lambda: os.nice(10),  # decisions come first
        )
        _, errors = await process.communicate()
        lines = errors.decode(errors="replace").strip().splitlines()
        return "" if process.returncode == 0 else (lines[-1][:300] if lines else f"exit code {process.returncode}")


def _times(run: RunFolder) -> tuple[float | None, float | None]:
    """When the report was written, and when the newest decision ended."""
    files = run.store.folder.files()
    ended = [at for name, at in run.store.parts.files().items() if name.endswith(RECEIPT)]
    return files.get(REPORT), max(ended, default=files.get("cells.parquet"))
