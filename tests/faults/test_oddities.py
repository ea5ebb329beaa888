"""A clock that jumps, a cell that kills every process, a thousand duplicate messages."""

from __future__ import annotations

import time
from collections import Counter
from random import Random

import redis

from harness.queue import registry
from harness.queue.broker import NAMESPACE, make_broker, queue_name
from tests.faults.stage import Promise, Stage, read_ledger

POISON = """
import os, signal
from agents import Result

async def decide(ctx):
    if ctx.snapshot.ticker == "IBM":
        os.kill(os.getpid(), signal.SIGKILL)
    return Result(None, "missing")
"""


def test_a_clock_that_jumps_forth_and_back_changes_nothing(on_stage: Stage, broker: str, chance: Random) -> None:
    clock = on_stage.bend_clock()
    on_stage.describe(dates=2)
    worker = on_stage.start_worker(broker, "--processes", "2")
    runner = on_stage.start("--broker", broker)
    on_stage.answered(chance.randint(1, 30))
    for jump_s in (3600, -3600):
        clock.write_text(str(jump_s))
        time.sleep(chance.uniform(0.5, 1.5))
    on_stage.end(runner)
    worker.terminate()
    on_stage.end(worker)
    Promise(6, cut_off=0).check(on_stage, read_ledger(broker))


def test_a_cell_that_kills_every_process_ends_as_failed_and_takes_no_other_with_it(on_stage: Stage, broker: str) -> None:
    (on_stage.folder / "poison.py").write_text(POISON)
    on_stage.environment["PYTHONPATH"] = str(on_stage.folder)
    on_stage.describe(dates=1, pipeline={"entry": "poison:decide"})
    on_stage.end(on_stage.start("--broker", broker, "--workers", "1"))
    ends = Counter((cell["ticker"], cell["status"], cell["error_type"]) for cell in on_stage.table("cells"))
    assert ends == {("AAPL", "ok", None): 1, ("MSFT", "ok", None): 1, ("IBM", "failed", "poison"): 1}
    Promise(3, statuses=frozenset({"ok", "failed"})).check(on_stage, read_ledger(broker))


def test_a_thousand_duplicate_messages_pay_and_write_nothing_twice(on_stage: Stage, broker: str, chance: Random) -> None:
    on_stage.describe(dates=2)
    worker = on_stage.start_worker(broker, "--processes", "2")
    runner = on_stage.start("--broker", broker)
    on_stage.answered(chance.randint(1, 30))
    _duplicate(broker, 1000)
    on_stage.end(runner)
    worker.terminate()
    on_stage.end(worker)
    Promise(6, cut_off=0).check(on_stage, read_ledger(broker))


def _duplicate(url: str, count: int) -> None:
    """Send cells that are queued or in work again and again, as a broker may."""
    from dramatiq import Message

    broker = make_broker(url)
    with redis.Redis.from_url(url) as client:
        (run,) = registry.active_runs(client).values()
        queue = queue_name(run.run_id, run.code, "hosted")
        messages = [Message.decode(raw) for raw in client.hvals(f"{NAMESPACE}:{queue}.msgs")]
    assert messages
    for number in range(count):
        copied = messages[number % len(messages)]
        broker.enqueue(Message(queue_name=queue, actor_name=queue, args=copied.args, kwargs={}, options={}))
    broker.close()
