"""Whole runs in deferred lanes: stage by stage, half the price, the same decisions, nothing paid twice."""

from __future__ import annotations

import json
import signal
from collections import Counter

import yaml

from tests.fixtures.lanes import INPUT_USD, OUTPUT_USD, assert_ledgers_are_equal, deferred_lab, later
from tests.fixtures.runs import CALLS_PER_CELL, HOSTED, PATIENCE_S, Lab, wait_for


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
    lab.fake.control(later={"ready_s": 3600.0})
    process = lab.start("run", "lab.yaml", "--yes")
    wait_for(lambda: later(lab)["submitted"], "a submission")
    wait_for(
        lambda: "analysts: 4 of 4 submitted, 0 back (hosted-1, lane batch: " in lab.harness("status", "lab"),
        "the stage in another shell",
    )
    watched = lab.harness("status", "lab")
    assert "1 cell waits; oldest request " in watched
    assert ", next look in " in watched
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 3, output
    assert "analysts: 4 of 4 submitted, 0 back (hosted-1, lane batch: " in output
    left = lab.harness("status", "lab")
    assert "analysts: 4 of 4 submitted, 0 back (hosted-1, lane batch: " in left
    assert "the same command fetches its answer" in left
    assert "next look" not in left, "nothing looks any more"
    assert "4 requests are with the provider; the same command fetches their answers" in output

    said = lab.harness("stop", "lab")

    assert "cancelled: 4 requests are with the provider; what it has begun is still billed, at most $" in said
    assert [batch["status"] for batch in later(lab)["batches"]] == ["cancelling"]
    assert "1 cell waits; oldest request " in lab.harness("status", "lab")
    assert json.loads(lab.harness("status", "lab", "--json"))["deferred"]["next_poll_s"] is None

    lab.fake.control(later={"ready_s": 0.1})
    output = lab.run("--yes", "--lane", "now")

    assert "paid: lane now from here on; 4 requests are with the provider in lane batch" in output
    assert f"`python -m harness stop lab/{lab.runs[-1].name}`, the same command" in output
    assert {cell["status"] for cell in lab.rows("cells")} == {"ok"}
    asked = Counter((call["lane"], call["outcome"]) for call in lab.rows("calls"))
    assert asked == {("batch", "failed"): 4, ("now", "answered"): CALLS_PER_CELL}
    assert later(lab)["submitted_twice"] == 0


def test_a_used_up_budget_cancels_what_is_with_the_provider_and_a_higher_one_goes_on(lab: Lab) -> None:
    dear = {"provider": "openai", "model": HOSTED, "server": "cloud", "reasoning_effort": "low", "max_output_tokens": 900_000}
    paid = {"provider": "openai", "model": HOSTED, "server": "cloud", "reasoning_effort": "low", "lane": "batch"}
    deferred_lab(lab, "batch", models={"paid": paid, "dear": dear}, budget={"run_usd": 4})
    lab.fake.control(later={"ready_s": 600.0})
    process = lab.start("run", "lab.yaml", "--yes", "--only", "arm=paid")
    wait_for(lambda: later(lab)["submitted"], "a submission")
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=PATIENCE_S)

    said = lab.run("--yes", expect=3)

    assert "the budget of the run is used up: its requests with a provider are cancelled" in said
    assert "cancelled: 4 requests are with the provider; what it has begun is still billed, at most $" in said
    assert "2 cells were not run" in said
    assert [batch["status"] for batch in later(lab)["batches"]] == ["cancelling"]
    lab.fake.control(later={"ready_s": 0.1})
    lab.run("--yes", "--budget", "100")
    assert {cell["status"] for cell in lab.rows("cells")} == {"ok"}
    assert Counter(call["error_type"] for call in lab.rows("calls") if call["arm"] == "paid") == {
        "cancelled": 4,
        None: CALLS_PER_CELL,
    }
    assert later(lab)["submitted_twice"] == 0


def test_a_replay_and_its_judges_are_one_batch_each(lab: Lab) -> None:
    paid = {"provider": "openai", "model": HOSTED, "server": "cloud", "reasoning_effort": "low", "lane": "batch"}
    own = {"provider": "openai_compatible", "model": "tiny", "server": "box"}
    deferred_lab(lab, "batch", dates=2, models={"paid": paid, "own": own}, arms={"own": {"all": "own"}})
    lab.run("--yes")
    command = ("replay", "lab", "--experiment", "lab.yaml", "--yes", "--from", "own", "--to", "paid", "--noise-floor", "0")

    lab.harness(*command, "--judge", "paid")

    told = later(lab)
    assert [batch["request_counts"]["total"] for batch in told["batches"]] == [2 * CALLS_PER_CELL, 2 * 2 * CALLS_PER_CELL]
    assert told["submitted_twice"] == 0
    assert Counter((cell["kind"], cell["status"]) for cell in lab.rows("cells")) == {
        ("pipeline", "ok"): 2,
        ("replay", "ok"): 2,
        ("judge", "ok"): 2,
    }
    asked = [call for call in lab.rows("calls") if call["model_requested"] == HOSTED]
    assert {call["lane"] for call in asked} == {"batch"}
    half_usd = sum(call["input_tokens"] * INPUT_USD + call["output_tokens"] * OUTPUT_USD for call in asked) / 2e6
    assert abs(sum(call["cost_usd"] for call in asked) - half_usd) < 1e-9


def test_a_provider_that_does_not_answer_while_answers_are_out_never_counts_as_an_unreachable_server(lab: Lab) -> None:
    deferred_lab(lab, "batch", pipeline={"depth": "single_call"})
    servers = yaml.safe_load((lab.folder / "servers.yaml").read_text())
    servers["cloud"]["unreachable_after"] = "1s"
    (lab.folder / "servers.yaml").write_text(yaml.safe_dump(servers))
    # With a back-off of 0.4, 0.8, 1.6 and 3.2 s that is several times the limit.
    lab.fake.control(later={"cut_lookups": 4})

    output = lab.run("--yes")

    assert later(lab)["submitted"] == 1
    assert "batch of hosted-1: " in output
    assert "; the next try is in 3 s" in output
    assert "left for later" not in output
    assert [(cell["status"], cell["llm_calls"]) for cell in lab.rows("cells")] == [("ok", 1)]
