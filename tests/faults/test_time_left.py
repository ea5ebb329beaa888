"""The time left, as a run shows it, against the time that it then takes."""

from __future__ import annotations

import json
import time

from tests.fixtures.runs import CALLS_PER_CELL, HOSTED, Lab, wait_for


def test_after_a_tenth_of_the_calls_the_time_left_is_right_within_a_factor_of_one_and_a_half(lab: Lab) -> None:
    lab.experiment(dates=4, slots=1)
    rules = [{"model": HOSTED, "do": {"latency_s": 0.1}}, {"model": "tiny", "do": {"latency_s": 1.0}}]
    lab.fake.control(rules=rules)
    run = lab.start("run", "lab.yaml")
    wait_for(lambda: lab.fake.ledger()["answered"] >= 0.1 * 8 * CALLS_PER_CELL, "a tenth of the calls")
    before, status, after = time.monotonic(), json.loads(lab.harness("status", "lab", "--json")), time.monotonic()
    wait_for(lambda: len(lab.receipts()) == 8, "the last cell")
    ended = time.monotonic()
    run.communicate(timeout=120)

    shortest_s, longest_s = ended - after, ended - before  # the command has looked at a moment in between
    assert shortest_s / 1.5 <= status["left_s"] <= longest_s * 1.5, (status["left_s"], shortest_s, longest_s)
    assert status["arms"]["own"]["left_s"] == status["left_s"]
    status = json.loads(lab.harness("status", "lab", "--json"))
    assert (status["left_s"], status["arms"]["own"]["usable"]) == (0.0, 4)
