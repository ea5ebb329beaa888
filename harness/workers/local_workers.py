"""The workers that a run starts on its own machine: the very `harness worker` of any other machine, tied to this process."""

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
_TOLD_TO_STOP = (0, 3, -signal.SIGTERM)
"""Exit codes of workers that a signal ended: drained, still importing, not even that."""


class LocalWorkers:
    """A supervisor process; it imports what cells need while the runner still looks and freezes."""

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

    def are_there(self) -> bool:
        """Whether they serve; no longer once somebody told them to stop. Raises HarnessError when they broke."""
        code = self._process.poll()
        if code is None or code in _TOLD_TO_STOP:
            return code is None
        lines = self._log.read_text(errors="replace").strip().splitlines()[-5:]
        raise HarnessError(f"the workers ended by themselves (exit code {code}): {' / '.join(lines)}; log: {self._log}")

    def stop(self) -> None:
        """Let the cells in hand end at their next call, then go."""
        self._signal(signal.SIGTERM)

    def kill(self) -> None:
        """End them at once, and their children with them."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        self._process.wait()

    def wait(self, patience_s: float) -> bool:
        """Whether they have gone within this time."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(patience_s)
            return True
        return False

    def close(self) -> None:
        """Take them down, gently if they let us."""
        self.stop()
        if not self.wait(_KILL_S):
            self.kill()

    def _signal(self, signum: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.kill(self._process.pid, signum)
