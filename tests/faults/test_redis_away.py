"""Redis dies in the middle of a run and is gone for 20 s."""

from __future__ import annotations

import time
from pathlib import Path
from random import Random

from harness.queue.private_redis import private_redis
from tests.faults.stage import Promise, Stage, read_ledger

GONE_S = 20.0


def test_redis_gone_for_20_s_loses_and_repeats_nothing(on_stage: Stage, tmp_path: Path, chance: Random) -> None:
    on_stage.describe(dates=2)
    with private_redis(tmp_path / "broker") as url:
        runner = on_stage.start("--broker", url, "--workers", "2")
        on_stage.answered(chance.randint(1, 50))
    answered = on_stage.models.ledger()["answered"]
    time.sleep(GONE_S)
    assert runner.poll() is None, on_stage.said()
    with private_redis(tmp_path / "broker") as url:
        on_stage.end(runner)
        assert on_stage.models.ledger()["answered"] > answered
        Promise(6, cut_off=0).check(on_stage, read_ledger(url))
