"""Whole runs in deferred lanes: stage by stage, half the price, the same decisions, nothing paid twice."""

from __future__ import annotations

import signal

from tests.fixtures.lanes import assert_ledgers_are_equal, deferred_lab, later
from tests.fixtures.runs import CALLS_PER_CELL, PATIENCE_S, Lab, wait_for


def test_a_batch_run_costs_half_and_decides_the_same_as_now(lab: Lab) -> None:
    deferred_lab(lab, "batch", dates=2)
    lab.run("--lane", "now", "--fresh", "--yes")
    at_once = {cell["case_id"]: (cell["rating"], cell["rationale"]) for cell in lab.rows("cells")}
    now_usd = sum(cell["cost_usd"] for cell in lab.rows("cells"))
    lab.fake.reset()
    deferred_lab(lab, "batch", dates=2)

    output = lab.run("--fresh", "--yes")

    cells = lab.rows("cells")
    assert {cell["status"] for cell in cells} == {"ok"}, output
    assert {cell["case_id"]: (cell["rating"], cell["rationale"]) for cell in cells} == at_once
    assert sum(cell["cost_usd"] for cell in cells) == now_usd / 2
    assert {call["lane"] for call in lab.rows("calls")} == {"batch"}
    assert len(lab.rows("calls")) == 2 * CALLS_PER_CELL
    assert_ledgers_are_equal(lab, 0.5)
    told = later(lab)
    assert told["submitted_twice"] == 0
    assert len(told["batches"]) == 9, "one file per stage for both cells"
    assert told["files"] == 0, "requests and answers are deleted at the provider"
    assert not list((lab.runs[-1] / "deferred").glob("*/*")), "nothing is left of ended cells"


def test_stop_cancels_what_an_interrupted_run_left_with_the_provider(lab: Lab) -> None:
    deferred_lab(lab, "batch")
    lab.fake.control(later={"ready_s": 60.0})
    process = lab.start("run", "lab.yaml", "--yes")
    wait_for(lambda: later(lab)["submitted"], "a submission")
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 3, output
    assert "4 requests are with the provider; the same command fetches their answers" in output

    said = lab.harness("stop", "lab")

    assert "cancelled: 4 requests are with the provider; what it has begun is still billed, at most $" in said
    assert [batch["status"] for batch in later(lab)["batches"]] == ["cancelling"]
