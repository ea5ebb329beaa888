"""`retry` pays only for what was not answered, whatever ended the cell."""

from __future__ import annotations

import shutil
from collections import Counter
from typing import Any

import pytest

from harness.terminal import number_of
from tests.fixtures.runs import HOSTED, Lab

TURNS = 12
BREAK_AFTER = 7
"""Answers of the hosted model before it breaks."""
PAID = {"paid": {"all": "paid"}}


def break_later(lab: Lab, **do: Any) -> None:
    lab.fake.control(rules=[{"do": do, "model": HOSTED, "skip": BREAK_AFTER}])


def answered(lab: Lab) -> Counter[str]:
    """Answers that the fake server billed, by model."""
    models = lab.paid()["models"]
    return Counter({name: account["answered"] for name, account in models.items()})


def retried(lab: Lab, count: int = 1) -> None:
    lab.fake.control(rules=[])
    assert f"{number_of(count, 'cell')} reopened" in lab.harness("retry", "lab")


def row(lab: Lab, kind: str = "pipeline", arm: str = "paid") -> dict[str, Any]:
    return next(cell for cell in lab.rows("cells") if cell["arm"] == arm and (cell["kind"] or "pipeline") == kind)


def test_a_cell_that_failed_pays_only_for_the_calls_that_were_not_answered(lab: Lab) -> None:
    lab.experiment(dates=1, arms=PAID)
    break_later(lab, status=400, error="no")
    lab.run()
    failed, before = row(lab), answered(lab)[HOSTED]
    assert (failed["status"], before) == ("failed", BREAK_AFTER)

    retried(lab)
    lab.run()

    cell = row(lab)
    assert cell["status"] == "ok"
    assert answered(lab)[HOSTED] == TURNS
    calls = Counter(call["outcome"] for call in lab.rows("calls"))
    assert calls == {"answered": TURNS, "failed": failed["llm_calls"] - BREAK_AFTER}
    assert cell["llm_calls"] == sum(calls.values())
    assert cell["api_cost_usd"] == pytest.approx(sum(call["cost_usd"] or 0.0 for call in lab.rows("calls")))
    assert all(call["parsed"] for call in lab.rows("calls") if call["role"] == "portfolio_manager" and call["response"])


def test_a_cell_that_timed_out_pays_only_for_the_calls_that_were_not_answered(lab: Lab) -> None:
    lab.experiment(dates=1, arms=PAID, cell_limit={"soft": "3s", "hard": "30s"})
    break_later(lab, hang_s=60.0)
    lab.run()
    assert row(lab)["status"] == "timeout"
    before = answered(lab)[HOSTED]

    retried(lab)
    lab.run()

    assert row(lab)["status"] == "ok"
    recorded = [call for call in lab.rows("calls") if call["outcome"] == "answered"]
    assert len(recorded) == TURNS
    assert answered(lab)[HOSTED] - before == TURNS - BREAK_AFTER


def test_a_cell_over_its_budget_pays_only_for_the_rest_even_on_another_redis(lab: Lab) -> None:
    lab.experiment(dates=1, arms=PAID, budget={"run_usd": 0.06})
    lab.fake.control(defaults={"output_tokens": 500})
    lab.run("--yes", expect=3)
    cut_short, before = row(lab), answered(lab)[HOSTED]
    assert cut_short["status"] == "over_budget"
    assert 0 < before < TURNS
    shutil.rmtree(lab.runs[0] / "redis")

    lab.experiment(dates=1, arms=PAID, budget={"run_usd": 5})
    lab.run("--yes")

    assert row(lab)["status"] == "ok"
    assert answered(lab)[HOSTED] == TURNS


def test_a_replay_and_a_judgement_that_failed_pay_only_for_the_calls_that_were_not_answered(lab: Lab) -> None:
    replay = ("replay", "lab", "--experiment", "lab.yaml", "--yes", "--from", "own", "--to", "paid", "--noise-floor", "0")
    lab.experiment(dates=1, arms={"own": {"all": "own"}})
    lab.run()
    break_later(lab, status=400, error="no")
    lab.harness(*replay)
    assert row(lab, "replay", "own > paid")["status"] == "failed"

    retried(lab)
    lab.harness(*replay)

    assert row(lab, "replay", "own > paid")["status"] == "ok"
    assert answered(lab)[HOSTED] == TURNS

    break_later(lab, status=400, error="no")
    lab.harness(*replay, "--judge", "paid")
    judge = "paid judges own > paid"
    assert row(lab, "judge", judge)["status"] == "failed"
    judged_before = answered(lab)[HOSTED] - TURNS
    assert judged_before > 0

    retried(lab)
    lab.harness(*replay, "--judge", "paid")

    assert row(lab, "judge", judge)["status"] == "ok"
    assert answered(lab)[HOSTED] == TURNS + 2 * TURNS, "each pair of answers is judged in both orders, once"


def test_another_run_uses_what_a_failed_cell_and_a_replay_of_an_earlier_one_were_answered(lab: Lab) -> None:
    replay = ("replay", "lab", "--experiment", "lab.yaml", "--yes", "--from", "own", "--to", "paid", "--noise-floor", "0")
    lab.experiment(dates=1)
    break_later(lab, status=400, error="no")
    lab.run()
    lab.fake.control(rules=[])
    lab.harness(*replay)
    before = answered(lab)[HOSTED]
    assert before == BREAK_AFTER + TURNS

    lab.experiment(dates=1, arms={"paid": {"all": "paid"}, "own": {"all": "own"}, "macd": {"rule": "macd"}})
    lab.run()
    lab.harness(*replay)

    assert len(lab.runs) == 2
    assert row(lab)["status"] == row(lab, "replay", "own > paid")["status"] == "ok"
    assert answered(lab)[HOSTED] == before + TURNS - BREAK_AFTER


def test_a_fresh_run_and_its_replays_use_nothing_of_earlier_runs(lab: Lab) -> None:
    replay = ("replay", "lab", "--experiment", "lab.yaml", "--yes", "--from", "own", "--to", "paid", "--noise-floor", "0")
    lab.experiment(dates=1, arms={"own": {"all": "own"}})
    lab.run()
    lab.harness(*replay)

    lab.run("--fresh")
    lab.harness(*replay)

    assert answered(lab) == {HOSTED: 2 * TURNS, "tiny": 2 * TURNS}
