"""Gates, as a user meets them: each is named with its value and its limit, and one that fails makes the exit code 4."""

from __future__ import annotations

import re

from tests.fixtures.runs import Lab


def test_a_gate_that_fails_ends_with_4_one_that_holds_with_0_and_judging_again_costs_no_call(lab: Lab) -> None:
    lab.experiment(gates={"max_usd_per_usable_decision": 0.0001, "min_usable_share": 0.5})

    said = lab.run(expect=4)

    assert re.search(r"FAILED: max_usd_per_usable_decision for paid is \$0\.0\d+, must be at most \$0\.000100\n", said)
    assert "FAILED: max_usd_per_usable_decision for own was not measured (a request has no known price), must be" in said
    assert "passed: min_usable_share for paid is 100" in said
    assert "2 of 4 gates failed, so the exit code is 4; the run itself is complete" in said
    page = (lab.runs[0] / "report.html").read_text(encoding="utf-8")
    assert "2 of 4 failed" in re.sub(r"<[^>]+>", "", page)
    paid = lab.paid()["calls"]

    lab.experiment(gates={"min_usable_share": 0.5})
    assert "passed: min_usable_share for paid" in lab.run(expect=0)
    assert (lab.paid()["calls"], len(lab.runs)) == (paid, 1)
