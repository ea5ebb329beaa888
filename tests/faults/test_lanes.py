"""Everything is killed while deferred calls are out: nothing is submitted twice, paid twice or lost, to the token.

`pytest tests/faults -k lanes --seeds 3` runs each scenario at three seeds.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from tests.fakes.process import FakeModels
from tests.faults.stage import BREAKS, ROOT, Stage, true_usd

pytestmark = pytest.mark.timeout(1800)
"""Many starts of everything; the limit only ends a hang, also on a machine that is busy with other things."""
CELLS = 4
CALLS = 4
"""Of a cell, in three stages."""
SHARES = {"batch": 0.5, "background_2h": 0.7, "background_8h": 0.6}
THREE_STAGES = """
from agents import DECISION

async def decide(ctx):
    reports = await ctx.gather(
        ctx.ask("market_analyst", [ctx.instrument(), "Describe the trend."]),
        ctx.ask("news_analyst", [ctx.instrument(), "Describe the news."]),
    )
    plan = await ctx.ask("trader", [reports[0].text, reports[1].text, "Propose a trade."])
    return await ctx.ask("portfolio_manager", [plan.text, DECISION.say()], form=DECISION)
"""


class Deferred:
    """One run in a deferred lane, which may be killed and started again."""

    def __init__(self, stage: Stage, lane: str) -> None:
        self.stage = stage
        self.lane = lane
        stage.environment |= {"HARNESS_DEFERRED_QUIET_S": "3", "HARNESS_DEFERRED_POLL_S": "0.1"}
        (stage.folder / "three_stages.py").write_text(THREE_STAGES)
        model = stage.model() | {"lane": lane}
        stage.describe(["AAPL", "IBM"], 2, models={"gpt": model}, pipeline={"entry": "three_stages:decide"})
        stage.servers(api="responses")
        stage.models.control(defaults={"latency_s": 0.0, "cached_tokens": 0}, later={"ready_s": 0.4})
        self._find_pipeline()

    def _find_pipeline(self) -> None:
        self.stage.environment["PYTHONPATH"] = f"{BREAKS}:{ROOT}:{self.stage.folder}"

    def break_in(self, *breaks: str) -> None:
        self.stage.break_in(*breaks)
        self._find_pipeline()

    def start(self) -> subprocess.Popen[str]:
        return self.stage.start()

    def told(self) -> dict[str, Any]:
        told: dict[str, Any] = self.stage.models.ledger()["later"]
        return told

    def suspended(self) -> bool:
        """Whether some cell waits for answers."""
        return any((self.stage.folder / "results").glob("fault/*/deferred/cells/*.cell.z"))

    def kill(self) -> None:
        """Runner, workers and Redis at once."""
        self.stage.kill_all()
        self.stage.until(lambda: not self.stage.processes(), "an end of everything")

    def kill_once(self, seen: Callable[[], Any], what: str, then_s: float) -> None:
        """Start, and kill everything a moment after this was seen, unless the run has ended before."""
        runner = self.start()
        self.stage.until(lambda: seen() or runner.poll() is not None, what)
        time.sleep(then_s)
        self.kill()

    def hold_answers(self) -> None:
        """The provider takes requests, and answers none of them."""
        self.stage.models.control(later={"ready_s": 3600.0})

    def release_answers(self) -> None:
        self.stage.models.control(later={"ready_s": 0.3})

    def lose_redis(self) -> None:
        """As on another machine: only the run folder is there."""
        shutil.rmtree(self.stage.run / "redis", ignore_errors=True)

    def move_elsewhere(self) -> None:
        """As after a copy to another machine: another folder."""
        elsewhere = self.stage.folder.with_name(f"{self.stage.folder.name}-elsewhere")
        self.stage.folder.rename(elsewhere)
        self.stage.folder = elsewhere
        self._find_pipeline()

    def finish(self) -> None:
        self.stage.end(self.start())

    def finish_through_breaks(self) -> int:
        """Start again and again until no process dies any more; returns how often one did."""
        deaths = 0
        while True:
            runner = self.start()
            self.stage.end(runner, None)
            self.kill()
            if runner.returncode == 0:
                return deaths
            deaths += 1
            assert deaths < 12, self.stage.said()

    def check(self) -> None:
        """The promises, against what the server knows."""
        stage, truth = self.stage, self.stage.models.ledger(full=True)
        cells, calls = stage.table("cells"), stage.table("calls")
        assert [cell["status"] for cell in cells] == CELLS * ["ok"], f"{cells}\n{stage.said()}"
        answered = [call for call in calls if call["outcome"] == "answered"]
        uncertain = [call for call in calls if call["error_type"] == "uncertain"]
        assert {call["outcome"] for call in calls} <= {"answered", "failed"}
        places = Counter((call["cell_id"], call["role"], call["round"], call["kind"], call["index"]) for call in answered)
        assert len(places) == len(answered) == CELLS * CALLS, "every call site has one answer"
        asked = Counter(one["prompt"] for one in truth["requests"] if one["outcome"] == "answered")
        assert sum(asked.values()) - len(asked) <= len(uncertain), f"paid twice\n{stage.said()}"
        assert self.told()["submitted_twice"] == 0
        assert {call["lane"] for call in calls} == {self.lane}
        paid, true = sum(call["cost_usd"] for call in calls), SHARES[self.lane] * true_usd(truth["models"])
        if uncertain:
            assert self.lane.startswith("background"), "a batch is found again by its metadata"
            assert paid >= true - 1e-9
        else:
            assert paid == pytest.approx(true, abs=1e-12)
            assert sum(call["input_tokens"] for call in answered) == truth["input_tokens"]
            assert sum(call["output_tokens"] for call in answered) == truth["output_tokens"]
        assert not list((stage.run / "deferred").glob("cells/*")), "no cell waits any more"
        assert not list((stage.run / "deferred").glob("sent/*")), "nothing is out any more"


Scenario = Callable[[Deferred, Random], None]


def killed_three_times(run: Deferred, chance: Random) -> None:
    for _ in range(3):
        submitted = run.told()["submitted"]
        run.kill_once(lambda: run.told()["submitted"] > submitted, "a further submission", chance.uniform(0.0, 1.5))  # noqa: B023
    run.finish()


def killed_while_redis_is_lost_each_time(run: Deferred, chance: Random) -> None:
    for _ in range(2):
        run.kill_once(run.suspended, "a suspended cell", chance.uniform(0.0, 3.0))
        run.lose_redis()
    run.finish()


def a_night_without_any_process(run: Deferred, chance: Random) -> None:
    """Killed with a stage out; the provider goes on, and another machine with the same folder fetches what was finished."""
    run.hold_answers()
    run.start()
    run.stage.until(lambda: run.told()["submitted"], "a submission")
    run.kill()
    run.release_answers()
    run.stage.answered(run.told()["submitted"])
    run.lose_redis()
    run.finish()


def a_copy_in_another_place_goes_on(run: Deferred, chance: Random) -> None:
    """The folder with everything in it, Redis included, is copied a moment after the kill; the first place is gone."""
    run.hold_answers()
    run.start()
    run.stage.until(lambda: run.told()["submitted"], "a submission")
    run.kill()
    run.move_elsewhere()
    run.release_answers()
    run.finish()


def before_each_write_of_a_submission(run: Deferred, chance: Random) -> None:
    run.break_in(*chance.randint(2, 4) * ["die .sent.json"])
    assert run.finish_through_breaks() >= 2


def after_each_write_of_a_submission(run: Deferred, chance: Random) -> None:
    run.break_in(*chance.randint(2, 4) * ["die after .sent.json"])
    assert run.finish_through_breaks() >= 2


def around_the_answers(run: Deferred, chance: Random) -> None:
    run.break_in(*chance.sample(["die .answer.z", "die after .answer.z", "die after .answer.z"], 3))
    assert run.finish_through_breaks() >= 2


def workers_around_suspensions(run: Deferred, chance: Random) -> None:
    """The worker that suspends a cell dies; its supervisor starts another."""
    # Two deaths only: a cell whose worker dies twice while it runs alone is given up.
    run.break_in(*chance.sample(["die .cell.z", "die after .cell.z", "die .cell.z"], 2))
    run.finish()


def the_creation_is_lost_and_then_everything_dies(run: Deferred, chance: Random) -> None:
    run.stage.models.control(later={"cut_creation": 1})
    run.start()
    run.stage.until(lambda: run.told()["submitted"], "a submission")
    time.sleep(chance.uniform(0.0, 0.3))
    run.kill()
    run.finish()


def stopped_and_continued(run: Deferred, chance: Random) -> None:
    """Ctrl-C leaves the calls with the provider; the same command fetches them."""
    run.hold_answers()
    runner = run.start()
    run.stage.until(lambda: run.told()["submitted"], "a submission")
    runner.send_signal(signal.SIGINT)
    run.stage.end(runner, 3)
    assert "requests are with the provider; the same command fetches their answers" in run.stage.said()
    run.release_answers()
    run.finish()


SCENARIOS: list[tuple[str, Scenario]] = [
    ("batch", killed_three_times),
    ("batch", killed_while_redis_is_lost_each_time),
    ("batch", a_night_without_any_process),
    ("batch", a_copy_in_another_place_goes_on),
    ("batch", before_each_write_of_a_submission),
    ("batch", after_each_write_of_a_submission),
    ("batch", around_the_answers),
    ("batch", workers_around_suspensions),
    ("batch", the_creation_is_lost_and_then_everything_dies),
    ("batch", stopped_and_continued),
    ("background_8h", killed_three_times),
    ("background_8h", a_night_without_any_process),
    ("background_2h", after_each_write_of_a_submission),
]


@pytest.mark.parametrize(("lane", "scenario"), SCENARIOS, ids=[f"{lane}-{one.__name__}" for lane, one in SCENARIOS])
def test_lanes_survive(on_stage: Stage, fake_models: FakeModels, lane: str, scenario: Scenario, chance: Random) -> None:
    run = Deferred(on_stage, lane)
    scenario(run, chance)
    run.check()


def test_a_run_that_goes_on_at_once_after_a_kill_asks_in_the_lane_of_its_new_command(on_stage: Stage) -> None:
    """The announcement of the killed runner, which workers read, is still in Redis."""
    run = Deferred(on_stage, "batch")
    run.hold_answers()
    run.start()
    on_stage.until(lambda: run.told()["submitted"], "a submission")
    run.kill()
    run.release_answers()

    on_stage.end(on_stage.start("--lane", "now"))

    calls = on_stage.table("calls")
    lanes = {(call["role"], call["lane"]) for call in calls}
    assert lanes == {
        ("market_analyst", "batch"),
        ("news_analyst", "batch"),
        ("trader", "now"),
        ("portfolio_manager", "now"),
    }
    assert len(calls) == CELLS * CALLS
