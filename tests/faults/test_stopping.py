"""A stop ends when nothing is in flight any more, and a run outlives its workers' supervisor."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from pathlib import Path
from random import Random

from harness.workers.local_workers import MOST_STARTS, LocalWorkers
from tests.faults.stage import Promise, Stage, read_ledger

CELLS = 6
STOP_S = 20.0
"""Longest time from Ctrl-C to the end of the command: the last request, a heartbeat that runs out, tables and page."""


def test_a_stop_does_not_wait_for_cells_whose_worker_was_killed(on_stage: Stage, broker: str, chance: Random) -> None:
    runner = _started(on_stage, broker, chance)
    _kill(chance.choice(on_stage.until(on_stage.workers, "a worker")))
    time.sleep(chance.uniform(0.0, 1.0))
    _interrupt(on_stage, runner)
    _continue(on_stage, broker)


def test_a_stop_does_not_wait_for_cells_of_a_killed_supervisor(on_stage: Stage, broker: str, chance: Random) -> None:
    runner = _started(on_stage, broker, chance)
    _kill(_supervisor(on_stage))
    time.sleep(chance.uniform(0.0, 0.3))
    _interrupt(on_stage, runner)
    _continue(on_stage, broker)


def test_a_killed_supervisor_is_started_again(on_stage: Stage, broker: str, chance: Random) -> None:
    runner = _started(on_stage, broker, chance)
    _kill(_supervisor(on_stage))
    on_stage.end(runner)
    assert "the worker processes ended (signal 9) and are started again" in on_stage.said()
    Promise(CELLS).check(on_stage, read_ledger(broker))


def test_a_supervisor_that_is_killed_again_and_again_ends_the_run_with_the_command_that_continues(
    on_stage: Stage, broker: str, chance: Random
) -> None:
    runner = _started(on_stage, broker, chance)
    deadline = time.monotonic() + 120
    while runner.poll() is None and time.monotonic() < deadline:
        for pid in on_stage.supervisors():
            _kill(pid)
        time.sleep(0.1)
    on_stage.end(runner, 3)
    assert "python -m harness run fault.yaml --yes --broker" in on_stage.said()
    assert json.loads((on_stage.run / "manifest.json").read_text())["state"] == "stopped"
    _continue(on_stage, broker)


def _started(on_stage: Stage, broker: str, chance: Random) -> subprocess.Popen[str]:
    """A run whose workers have answered some calls."""
    on_stage.models.control(defaults={"latency_s": 1.0})
    on_stage.describe(dates=2)
    runner = on_stage.start("--broker", broker, "--workers", "1")
    on_stage.answered(chance.randint(1, 15))
    return runner


def _interrupt(on_stage: Stage, runner: subprocess.Popen[str]) -> None:
    """Ctrl-C, once."""
    runner.send_signal(signal.SIGINT)
    on_stage.end(runner, 3, patience_s=STOP_S)


def _continue(on_stage: Stage, broker: str) -> None:
    on_stage.models.control(defaults={"latency_s": 0.1})
    on_stage.end(on_stage.start("--broker", broker, "--workers", "2"))
    Promise(CELLS).check(on_stage, read_ledger(broker))


def _supervisor(on_stage: Stage) -> int:
    (supervisor,) = on_stage.supervisors()
    return supervisor


def _kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)


def test_workers_that_exit_with_an_error_are_started_again_and_their_last_message_is_kept(tmp_path: Path) -> None:
    workers = LocalWorkers(["--broker", "redis://127.0.0.1:1", "--results", str(tmp_path)], tmp_path / "workers.log")
    starts = 0
    while starts == 0 or workers.restart():
        starts += 1
        assert workers.wait(60)
        cause = workers.died_of
        assert cause is not None
        assert cause.startswith("exit code 2: ")
        assert str(tmp_path / "workers.log") in cause
    assert starts == MOST_STARTS
