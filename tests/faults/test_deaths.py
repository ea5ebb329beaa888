"""Processes die at random times, inside writes, all at once, or stall and come back."""

from __future__ import annotations

import os
import signal
import time
from random import Random

import pytest
import redis

from harness.admission import lease
from harness.queue import registry
from harness.queue.private_redis import private_redis
from tests.faults.stage import Promise, Stage, read_ledger

CELLS = 6


def test_workers_killed_at_random_times(on_stage: Stage, broker: str, chance: Random) -> None:
    on_stage.models.control(defaults={"latency_s": 0.3})
    on_stage.describe(dates=2)
    runner = on_stage.start("--broker", broker, "--workers", "2")
    on_stage.answered(chance.randint(1, 20))
    for _ in range(3):
        _kill(chance.choice(on_stage.until(on_stage.workers, "a worker")))
        time.sleep(chance.uniform(0.1, 1.5))
    on_stage.end(runner)
    Promise(CELLS).check(on_stage, read_ledger(broker))


def test_the_runner_killed_forgotten_and_started_again(on_stage: Stage, broker: str, chance: Random) -> None:
    """Its worker starts no further cell once the runner's signs of life ran out, and serves the one that comes after it."""
    on_stage.describe(dates=2)
    worker = on_stage.start_worker(broker, "--concurrency", "2")
    runner = on_stage.start("--broker", broker)
    on_stage.answered(chance.randint(1, 40))
    _kill(runner.pid)
    runner.wait()
    with redis.Redis.from_url(broker) as client:
        (run_id,) = registry.active_runs(client)
        client.delete(registry.alive_key(run_id))
        on_stage.until(lambda: not lease.holders(client, run_id), "a worker that has left the run of a dead runner")
        assert registry.all_runs(client)
        assert not registry.active_runs(client)
    on_stage.end(on_stage.start("--broker", broker))
    worker.terminate()
    on_stage.end(worker)
    Promise(CELLS, cut_off=0).check(on_stage, read_ledger(broker))


def test_everything_killed_and_started_again(on_stage: Stage, chance: Random) -> None:
    on_stage.describe(dates=2)
    for _ in range(2):
        answers = on_stage.models.ledger()["answered"]
        runner = on_stage.start()
        on_stage.answered(answers + chance.randint(1, 25))
        on_stage.kill_all()
        runner.wait()
        on_stage.until(lambda: not on_stage.processes(), "an empty stage")
    on_stage.end(on_stage.start())
    (folder,) = {path.parent for path in on_stage.run.rglob("lock")}
    with private_redis(folder) as url:
        Promise(CELLS).check(on_stage, read_ledger(url))


@pytest.mark.parametrize("file", ["experiment.yaml", "manifest.json"])
def test_a_run_killed_while_its_folder_is_opened_goes_on_in_that_folder(on_stage: Stage, file: str) -> None:
    on_stage.break_in(f"die {file}")
    on_stage.describe(tickers=["AAPL"], dates=1)
    on_stage.end(on_stage.start(), -signal.SIGKILL)
    assert on_stage.breaks_left() == 0
    opened = on_stage.run
    on_stage.kill_all()
    on_stage.end(on_stage.start())
    assert on_stage.run == opened
    assert [cell["status"] for cell in on_stage.table("cells")] == ["ok"]


def test_workers_killed_inside_writes(on_stage: Stage, broker: str) -> None:
    """Before and right after the rename of calls and of a receipt: between call and receipt, and between receipt and word."""
    breaks = ["die calls.parquet", "die after calls.parquet", "die cell.parquet", "die after cell.parquet"]
    on_stage.break_in(*breaks)
    on_stage.describe(tickers=["AAPL"])
    on_stage.end(on_stage.start("--broker", broker, "--workers", "1"))
    assert on_stage.breaks_left() == 0
    Promise(4).check(on_stage, read_ledger(broker))


def test_a_worker_that_stalls_for_20_s_and_comes_back(on_stage: Stage, broker: str, chance: Random) -> None:
    """Its cells go on elsewhere; what it had asked for and finds answered is kept, what was asked twice is flagged."""
    on_stage.models.control(defaults={"latency_s": 2.6})
    on_stage.describe(dates=2)
    runner = on_stage.start("--broker", broker, "--workers", "2")
    on_stage.answered(chance.randint(5, 20))
    stalled = chance.choice(on_stage.workers())
    os.kill(stalled, signal.SIGSTOP)
    time.sleep(20)
    assert runner.poll() is None
    os.kill(stalled, signal.SIGCONT)
    on_stage.end(runner)
    Promise(6, late=6 * 4).check(on_stage, read_ledger(broker))


def _kill(pid: int) -> None:
    os.kill(pid, signal.SIGKILL)
