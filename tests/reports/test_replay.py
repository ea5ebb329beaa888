"""Replays compared: pairs by prompt, stances beside the noise floor, and unknown stays unknown."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from reports.load import load
from reports.roles.pairs import pairs
from reports.roles.replays import ReplayResult, RoleComparison, replays
from tests.reports.replayed import add_replay, give_forms, write
from tests.reports.synthetic import FakeArm, make_run

ARMS = {"big": FakeArm(), "small": FakeArm("tiny", "llamacpp", None)}


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`big` is replayed to `small`, which says Sell in every fourth case and costs nothing known, and to itself."""
    made = make_run(tmp_path_factory.mktemp("run") / "r1", arms=ARMS, tickers=("AAPL",), text="The close of 118.38 fell 3.1 %.")
    give_forms(made, lambda call: "Buy")
    sold = set(sorted({cell["case_id"] for cell in load(made).cells.to_dict("records")})[::4])
    case_of: dict[str, str] = dict(load(made).cells[["cell_id", "case_id"]].itertuples(index=False))

    def smaller(call: dict[str, Any]) -> dict[str, Any]:
        rating = "Sell" if case_of[call["cell_id"]] in sold else "Buy"
        form = json.dumps({"rating": rating, "confidence": 62, "summary": "other words"})
        said = "The close of 118.38 rose to 777.77 dollars." if call["role"] == "bull" else "The close of 118.38 fell."
        parsed = form if call["role"] == "portfolio_manager" else None
        return {"response": said, "parsed": parsed, "cost_usd": None, "duration_s": call["duration_s"] * 2}

    add_replay(made, "big", "small", smaller)
    add_replay(made, "big", "big", lambda call: {})
    return made


@pytest.fixture(scope="module")
def compared(run: Path) -> ReplayResult:
    return next(one for one in replays(load(run)) if one.target == "small")


def role(found: ReplayResult, name: str) -> RoleComparison:
    return next(one for one in found.roles if one.role == name)


def test_a_pair_is_the_same_prompt_with_two_answers(run: Path) -> None:
    found = list(pairs(load(run), "big > small"))

    assert len(found) == 8 * 12
    assert all(pair.source.prompt == pair.target.prompt for pair in found)
    assert all(pair.prompt_texts for pair in found)


def test_stances_are_compared_beside_what_differs_by_chance(compared: ReplayResult) -> None:
    decides = role(compared, "portfolio_manager")

    assert decides.alike.value == pytest.approx(0.75)
    assert decides.alike.dates == 8
    assert decides.floor is not None
    assert decides.floor.alike.value == 1.0
    assert decides.fields.value == 1.0, "60 and 62 are within 5 %"
    assert math.isnan(role(compared, "bull").alike.value), "a debater takes no stance"


def test_an_invented_figure_costs_its_role_grounding(compared: ReplayResult) -> None:
    bull, bear = (role(compared, name).aspect("grounded") for name in ("bull", "bear"))

    assert bull
    assert bear
    assert bull.target.value == pytest.approx(0.5)
    assert bear.target.value == pytest.approx(1.0)


def test_a_role_without_an_answer_on_one_side_is_compared_by_nobody(tmp_path: Path) -> None:
    made = make_run(tmp_path / "r1", arms=ARMS, tickers=("AAPL",))
    add_replay(made, "big", "small", lambda call: {})
    calls = pq.read_table(made / "calls.parquet").to_pylist()
    write(made, "calls", [call for call in calls if (call["kind"], call["role"]) != ("replay", "bull")])

    (found,) = replays(load(made))

    assert len(found.roles) == 11
    assert "bull" not in {one.role for one in found.roles}
    assert {one.pairs for one in found.roles} == {8}


def test_an_unknown_cost_stays_unknown_and_is_counted(compared: ReplayResult) -> None:
    cost, seconds = (role(compared, "trader").aspect(name) for name in ("cost_usd", "seconds"))

    assert cost
    assert seconds
    assert math.isnan(cost.target.value)
    assert cost.target.missing == 8
    assert cost.source.value > 0
    assert seconds.apart.value > 0


def test_a_run_without_replays_has_none(tmp_path: Path) -> None:
    assert replays(load(make_run(tmp_path / "r", tickers=("AAPL",)))) == []
