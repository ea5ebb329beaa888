"""The workers that a run starts on its own machine: `harness worker`, ended with this process."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from harness.errors import HarnessError
from harness.queue.process import die_with_parent

_KILL_S = 5.0
_STOPPED = (0, 3, -signal.SIGTERM)
"""Exit codes after a signal: drained; still importing; before any handler was set."""


class LocalWorkers:
    """A supervisor process; it imports what cells need while the runner still checks and freezes."""

    def __init__(self, arguments: Sequence[str], log: Path) -> None:
        log.parent.mkdir(parents=True, exist_ok=True)
        parent = os.getpid()
        self._log = log
        with log.open("ab") as stream:
            self._process = subprocess.Popen(
                [sys.executable, "-m", "harness", "worker", *arguments],
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=stream,
                start_new_session=True,
                preexec_fn=lambda: die_with_parent(parent),
            )

    def are_running(self) -> bool:
        """Whether they serve; False after a stop. Raises HarnessError if they failed."""
        code = self._process.poll()
        if code is None or code in _STOPPED:
            return code is None
        lines = self._log.read_text(errors="replace").strip().splitlines()[-5:]
        raise HarnessError(f"the workers ended unexpectedly (exit code {code}): {' / '.join(lines)}; log: {self._log}")

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
