"""Cascades as arms: the second model is asked where the rule says so and nowhere else; both parts are recorded and billed."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from harness.cells import THEN_INDEX
from harness.checking.resolved import resolve
from harness.errors import InvalidInput
from harness.experiment import matrix, spec
from harness.planning import plan as planning
from harness.planning import plan_text
from tests.fakes.process import FakeModels
from tests.fixtures.runs import HOSTED, Lab

RULES: dict[str, Any] = {"sure": {"confidence_below": 0.5}, "alike": {"repeats_disagree": 2}, "broken": "unusable"}


def cascade(when: Any, first: str = "own", then: str = "paid") -> dict[str, Any]:
    return {"cascade": {"first": first, "then": then, "when": when}}


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory, fake_models_process: FakeModels) -> Iterator[Lab]:
    fake_models_process.reset()
    lab = Lab(tmp_path_factory.mktemp("cascades"), fake_models_process)
    arms = {"paid": {"all": "paid"}} | {name: cascade(when) for name, when in RULES.items()}
    lab.experiment(dates=6, arms=arms, repeats=1, pipeline={"depth": "single_call"}, tickers=["AAPL", "MSFT"])
    lab.fake.control(rules=[{"model": "tiny", "do": {"view": "own", "wavers": 0.5}}])
    lab.run()
    yield lab
    lab.close()


def of_arm(lab: Lab, table: str, arm: str) -> list[dict[str, Any]]:
    return [row for row in lab.rows(table) if row["arm"] == arm]


def plan_of(lab: Lab, path: Path) -> planning.Plan:
    experiment = spec.load(path)
    where = planning.Where(str(lab.folder / "results"), lab.folder / "snapshots")
    return planning.make(resolve(experiment, lab.folder), matrix.expand(experiment), where)


def test_the_second_model_is_asked_exactly_where_the_first_is_unsure(finished: Lab) -> None:
    for arm, asked in {"sure": 1, "alike": 2, "broken": 1}.items():
        calls = of_arm(finished, "calls", arm)
        for cell in of_arm(finished, "cells", arm):
            of_cell = [call for call in calls if call["cell_id"] == cell["cell_id"]]
            second = [call for call in of_cell if call["index"] >= THEN_INDEX]
            first = [call for call in of_cell if call["index"] < THEN_INDEX and call["kind"] == "primary"]
            assert cell["escalated"] == bool(second)
            assert {call["model_requested"] for call in second} <= {HOSTED}
            assert {call["model_requested"] for call in first} == {"tiny"}
            assert len(first) <= asked
    assert all(cell["escalated"] is None for cell in of_arm(finished, "cells", "paid"))


def test_the_rules_read_confidence_agreement_and_usability(finished: Lab) -> None:
    kept = [cell for cell in of_arm(finished, "cells", "sure") if not cell["escalated"]]
    assert kept, "some cases are sure"
    assert all(cell["confidence"] >= 0.5 for cell in kept)
    assert {cell["escalated"] for cell in of_arm(finished, "cells", "alike")} == {True, False}
    assert not any(cell["escalated"] for cell in of_arm(finished, "cells", "broken")), "every answer of the fake is readable"


def test_both_parts_are_billed_to_the_cell(finished: Lab) -> None:
    for cell in of_arm(finished, "cells", "alike"):
        of_cell = [call for call in of_arm(finished, "calls", "alike") if call["cell_id"] == cell["cell_id"]]
        hosted = [call["cost_usd"] for call in of_cell if call["model_requested"] == HOSTED]
        assert cell["llm_calls"] == len(of_cell)
        assert cell["api_cost_usd"] == pytest.approx(sum(hosted))
        answer = max(of_cell, key=lambda call: call["index"])
        if cell["escalated"]:
            assert cell["rating"] in answer["parsed"], "the second model decides"


@pytest.mark.parametrize(
    ("arm", "problem"),
    [
        (cascade({"confidence_below": 0.5, "repeats_disagree": 3}), "one rule"),
        (cascade({"confidence_below": 2}), "less than or equal to 1"),
        (cascade({"rating_probability_below": 0.7}), "models.own does not ask for the probability of its rating"),
        (cascade({"repeats_disagree": 1}), "greater than or equal to 2"),
        (cascade("unusable", then="own"), "one model twice"),
        (cascade("unusable", first="owm"), "unknown model 'owm'"),
        (cascade("unusable") | {"all": "own"}, "names other models"),
    ],
)
def test_a_cascade_that_makes_no_sense_is_refused(lab: Lab, arm: Any, problem: str) -> None:
    path = lab.experiment(arms={"paid": {"all": "paid"}, "both": arm})
    with pytest.raises(InvalidInput, match=problem):
        spec.load(path)


def test_a_cascade_survives_the_run_folder_and_its_rule_is_part_of_its_cells(lab: Lab) -> None:
    path = lab.experiment(arms={"paid": {"all": "paid"}, "a": cascade("unusable"), "b": cascade({"confidence_below": 0.7})})
    experiment = spec.load(path)
    again = Path(lab.folder / "again.yaml")
    again.write_text(yaml.safe_dump(experiment.resolved()))
    assert spec.load(again).arms == experiment.arms
    keys = {cell.arm: cell.cell_key for cell in matrix.expand(experiment)}
    assert keys["a"] != keys["b"]


def test_a_low_or_unknown_probability_of_the_rating_asks_the_second_model(lab: Lab) -> None:
    decision = {"summary": "s", "thesis": "t", "rating": "Hold", "confidence": 70, "target_price": 90, "horizon": "6 weeks"}
    before, after = json.dumps(decision).split("Hold")
    unsure = [{"token": "Hold", "logprob": -0.9}, {"token": "Buy", "logprob": -0.6}]
    certain = {"logprob": 0.0, "top_logprobs": []}
    rating = {"token": "Hold", "logprob": -0.9, "top_logprobs": unsure}
    tokens = [{"token": before} | certain, rating, {"token": after} | certain]
    server = {"provider": "openai_compatible", "server": "box", "rating_probability": True}
    models = {
        "paid": {"provider": "openai", "model": HOSTED, "server": "cloud", "reasoning_effort": "low"},
        "open": server | {"model": "open"},
        "silent": server | {"model": "silent"},
    }
    arms = {"paid": {"all": "paid"}} | {
        name: cascade({"rating_probability_below": below}, first)
        for name, below, first in (("low", 0.6, "open"), ("high", 0.3, "open"), ("unknown", 0.3, "silent"))
    }
    text = {"text": json.dumps(decision)}
    rules = [{"model": "open", "do": text | {"logprobs": tokens}}, {"model": "silent", "do": text}]
    lab.experiment(arms=arms, models=models, repeats=1, pipeline={"depth": "single_call"})
    lab.fake.control(models=[HOSTED, "open", "silent"], rules=rules)
    lab.run()
    escalated = {cell["arm"]: cell["escalated"] for cell in lab.rows("cells")}
    assert escalated == {"paid": None, "low": True, "high": False, "unknown": True}


def test_a_plan_without_an_earlier_run_reaches_from_no_escalated_case_to_every_case(lab: Lab) -> None:
    arms = {"paid": {"all": "paid"}, "sure": cascade(RULES["sure"])}
    made = plan_of(lab, lab.experiment(dates=6, arms=arms, repeats=1, pipeline={"depth": "single_call"}))
    alone, both = made.arms["paid"].api_cost, made.arms["sure"].api_cost
    assert alone.mid is not None
    assert both.low is not None
    assert both.mid is not None
    assert both.high is not None
    assert both.low < 0.1 * alone.mid
    assert 0.3 * alone.mid < both.mid < 0.7 * alone.mid
    assert both.high > alone.mid
    assert "sure: no earlier run shows how often the second model is asked" in dict(plan_text.lines(made))["cascade"]


def test_a_plan_uses_the_share_that_an_earlier_run_escalated(finished: Lab) -> None:
    arms = {"paid": {"all": "paid"}} | {name: cascade(when) for name, when in RULES.items()}
    other_cases: dict[str, Any] = {
        "repeats": 1,
        "pipeline": {"depth": "single_call"},
        "tickers": ["NVDA", "JPM"],
        "name": "more",
    }
    made = plan_of(finished, finished.experiment(dates=6, arms=arms, **other_cases))
    shares = {}
    for arm in RULES:
        cells = of_arm(finished, "cells", arm)
        shares[arm] = sum(cell["escalated"] for cell in cells) / len(cells)
        escalation = made.arms[arm].escalation
        assert escalation is not None
        assert (escalation.cases, escalation.asked) == (len(cells), shares[arm] * len(cells))
        assert f"asked in {shares[arm]:.0%} of {len(cells)} cases of earlier runs" in escalation.sentence
    costs = {arm: made.arms[arm].api_cost.mid or 0.0 for arm in RULES}
    assert sorted(shares, key=lambda arm: shares[arm]) == sorted(costs, key=lambda arm: costs[arm])
    assert costs["broken"] < 0.1 * (made.arms["paid"].api_cost.mid or 0.0), "no answer of the first was unusable"


def test_another_rule_learns_nothing_from_a_recorded_share(finished: Lab) -> None:
    arms = {"paid": {"all": "paid"}, "bold": cascade({"confidence_below": 0.3})}
    made = plan_of(finished, finished.experiment(arms=arms, repeats=1, pipeline={"depth": "single_call"}, name="bold"))
    assert made.arms["bold"].escalation is not None
    assert made.arms["bold"].escalation.cases == 0
