"""The workers that a run starts on its own machine: `harness worker`, ended with this process, started again if killed."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from harness.queue.in_flight import POISON_DEATHS, SILENT_DEATHS
from harness.queue.process import die_with_parent

MOST_STARTS = 1 + SILENT_DEATHS + POISON_DEATHS
"""Enough to give up a cell that takes the supervisor down with it each time."""
_KILL_S = 5.0
_STOPPED = (0, 3, -signal.SIGTERM)
"""Exit codes after a signal: drained; still importing; before any handler was set."""


class LocalWorkers:
    """A supervisor process; it imports what cells need while the runner still checks and freezes."""

    def __init__(self, arguments: Sequence[str], log: Path) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        self._arguments = list(arguments)
        self._log = log
        self._starts = 0
        self._process = self._start()

    def _start(self) -> subprocess.Popen[bytes]:
        parent = os.getpid()
        self._starts += 1
        with self._log.open("ab") as stream:
            return subprocess.Popen(
                [sys.executable, "-m", "harness", "worker", *self._arguments],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                start_new_session=True,
                preexec_fn=lambda: die_with_parent(parent),
            )

    def are_running(self) -> bool:
        return self._process.poll() is None

    @property
    def died_of(self) -> str | None:
        """Why they ended, in words; None after a request to stop."""
        code = self._process.returncode
        if code is None or code in _STOPPED:
            return None
        if code < 0:
            return f"signal {-code}"
        lines = self._log.read_text(errors="replace").strip().splitlines()[-1:]
        return f"exit code {code}: {' / '.join(lines)}; log: {self._log}"

    def restart(self) -> bool:
        """Start them again after they died; False if that happened too often."""
        if self._starts >= MOST_STARTS:
            return False
        self._process = self._start()
        return True

    def stop(self) -> None:
        """Let running cells end at their next call, then exit."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """Kill them and their children."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def wait(self, patience_s: float) -> bool:
        """Whether they ended within this time."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(patience_s)
            return True
        return False

    def close(self) -> None:
        """Stop them; kill them if that takes too long."""
        self.stop()
        if not self.wait(_KILL_S):
            self.kill()

    def _signal(self, signum: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._process.pid, signum)
