"""Cascades of attached programs: the program runs again with the second model only where the first is unsure."""

from __future__ import annotations

import json
from typing import Any

import pytest

from harness.cells import THEN_INDEX
from tests.fixtures.runs import HOSTED, Lab
from tests.gateway.conftest import RATED, attached

CALLS_OF_A_PROGRAM = 7


def cascade(when: Any) -> dict[str, Any]:
    return {"cascade": {"first": "own", "then": "paid", "when": when}}


def unsure_of_msft(lab: Lab) -> None:
    """The local model rates AAPL, and says nothing of use on MSFT; the hosted one rates both."""
    tool = [{"name": "get_prices", "arguments": '{"ticker": "AAPL"}'}]
    forced = [{"name": "PortfolioDecision", "arguments": RATED}]
    vague = {"text": "It could go either way."}
    lab.fake.control(
        rules=[
            {"contains": "Data retrieved on", "do": {"text": "The trend is up; the close was 101.25."}},
            {"contains": "You are a trading assistant", "do": {"tool_calls": tool}},
            {"contains": "As the Portfolio Manager, decide on MSFT", "model": "tiny", "do": vague},
            {"contains": "As the Portfolio Manager", "do": {"tool_calls": forced}},
        ]
    )


def calls_of(lab: Lab, cell: dict[str, Any]) -> list[dict[str, Any]]:
    return [row for row in lab.rows("calls") if row["cell_id"] == cell["cell_id"]]


def test_both_parts_of_a_cascade_are_recorded_and_billed(lab: Lab) -> None:
    unsure_of_msft(lab)
    arms = {"paid": {"all": "paid"}, "broken": cascade("unusable"), "alike": cascade({"repeats_disagree": 2})}
    lab.experiment(pipeline=attached(), arms=arms, tickers=["AAPL", "MSFT"])
    lab.run("--yes")
    cells = {(row["arm"], row["ticker"]): row for row in lab.rows("cells")}
    assert {key: (row["status"], row["rating"], row["escalated"]) for key, row in cells.items() if key[0] != "paid"} == {
        ("broken", "AAPL"): ("ok", "Overweight", False),
        ("broken", "MSFT"): ("ok", "Overweight", True),
        ("alike", "AAPL"): ("ok", "Overweight", False),
        ("alike", "MSFT"): ("ok", "Overweight", True),
    }
    parts = {key: json.loads(row["program"]).get("parts") for key, row in cells.items()}
    assert parts[("broken", "AAPL")] == 1
    assert parts[("broken", "MSFT")] == parts[("alike", "AAPL")] == parts[("alike", "MSFT")] == 2
    for (arm, _), cell in cells.items():
        calls = calls_of(lab, cell)
        runs = json.loads(cell["program"]).get("parts", 1)
        assert len(calls) == cell["llm_calls"] == json.loads(cell["program"])["calls"] == runs * CALLS_OF_A_PROGRAM
        assert len({(row["role"], row["round"], row["kind"], row["index"]) for row in calls}) == len(calls)
        hosted = [row for row in calls if row["model_requested"] == HOSTED]
        assert cell["api_cost_usd"] == pytest.approx(sum(row["cost_usd"] for row in hosted))
        if arm != "paid":
            assert {row["model_requested"] for row in calls if row["index"] >= THEN_INDEX} <= {HOSTED}
            assert {row["model_requested"] for row in calls if row["index"] < THEN_INDEX} == {"tiny"}
            assert bool(hosted) == cell["escalated"]


def test_a_cascade_that_a_cap_ended_pays_only_what_is_missing_when_it_is_raised(lab: Lab) -> None:
    unsure_of_msft(lab)
    arms = {"broken": cascade("unusable")}
    lab.experiment(pipeline=attached(), arms=arms, tickers=["MSFT"], budget={"cell_usd": 0.042})
    lab.run("--yes")
    (cell,) = lab.rows("cells")
    assert (cell["status"], cell["rating"], cell["escalated"]) == ("over_budget", None, True)
    assert CALLS_OF_A_PROGRAM < lab.paid()["calls"] < 2 * CALLS_OF_A_PROGRAM
    lab.experiment(pipeline=attached(), arms=arms, tickers=["MSFT"], budget={"cell_usd": 100})
    lab.run("--yes")
    (cell,) = lab.rows("cells")
    assert (cell["status"], cell["rating"], cell["escalated"]) == ("ok", "Overweight", True)
    assert lab.paid()["calls"] == 2 * CALLS_OF_A_PROGRAM, "nothing is paid twice"
