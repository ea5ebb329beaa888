"""Judges summed up: only a preference that survives the other order is a win, and biases are told beside it."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from reports.load import load
from reports.roles.judges import JudgedReplay, JudgeSummary, judged_replays
from reports.stats import agreement, exact
from tests.reports.replayed import add_judge, add_replay
from tests.reports.synthetic import FakeArm, make_run, sessions

REPLAY = "big > small"
PAIRS = 8 * 12


def fair(call: dict[str, Any], order: int) -> str:
    """Prefers the target as bull and the source as bear, whatever stands first; all else is a tie."""
    if call["role"] == "bull":
        return "BA"[order]
    return "AB"[order] if call["role"] == "bear" else "tie"


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    arms = {"big": FakeArm(), "small": FakeArm("tiny", "llamacpp", None)}
    made = make_run(tmp_path_factory.mktemp("run") / "r1", arms=arms, tickers=("AAPL",), text="The close of 118.38 fell.")
    add_replay(made, "big", "small", lambda call: {"response": "The close of 118.38 fell, and much more is said of it."})
    add_judge(made, "fair", REPLAY, fair)
    add_judge(made, "first", REPLAY, lambda call, order: "A")
    add_judge(made, "small", REPLAY, lambda call, order: None if order else fair(call, order), cost_usd=None)
    return made


@pytest.fixture(scope="module")
def found(run: Path) -> JudgedReplay:
    (one,) = judged_replays(load(run))
    return one


def judge(found: JudgedReplay, name: str) -> JudgeSummary:
    return next(one for one in found.judges if one.name == name)


def test_a_preference_in_both_orders_is_a_win_and_is_counted_per_role(found: JudgedReplay) -> None:
    by_role = {one.role: one for one in judge(found, "fair").roles}

    assert dict(by_role["bull"].wins) == {"target": 8}
    assert dict(by_role["bear"].wins) == {"source": 8}
    assert dict(by_role["trader"].wins) == {"tie": 8}
    rates = [by_role[role].rate.value for role in ("bull", "bear", "trader")]
    assert rates == [1.0, 0.0, 0.5]
    assert by_role["bull"].p == pytest.approx(2 / 2**8)
    assert by_role["trader"].p == 1.0


def test_a_judge_that_takes_what_stands_first_has_no_winner_and_is_found_out(found: JudgedReplay) -> None:
    first = judge(found, "first")

    assert first.first.value == 1.0
    assert judge(found, "fair").first.value == 0.5
    assert all(one.rate.value == 0.5 and one.flipped == 8 for one in first.roles)


def test_a_verdict_that_cannot_be_read_is_in_no_share_and_no_tie(found: JudgedReplay) -> None:
    broken = judge(found, "small")

    assert (broken.broken, broken.pairs) == (PAIRS, PAIRS)
    assert all(math.isnan(one.rate.value) and not one.wins for one in broken.roles)


def test_how_often_the_longer_answer_wins_is_told(found: JudgedReplay) -> None:
    assert judge(found, "fair").longer.value == pytest.approx(0.5), "the target is longer: it wins as bull and loses as bear"
    assert math.isnan(judge(found, "first").longer.value)


def test_what_judging_cost_is_summed_and_unknown_stays_unknown(found: JudgedReplay) -> None:
    assert judge(found, "fair").cost.value == pytest.approx(2 * PAIRS * 0.001)
    assert judge(found, "small").cost.value is None


def test_a_judge_of_its_own_answers_is_marked(found: JudgedReplay) -> None:
    assert [one.is_party for one in found.judges] == [False, False, True]


def test_judges_are_held_against_each_other(found: JudgedReplay) -> None:
    pair = found.agreements[0]

    assert (pair.judges, pair.pairs) == (("fair", "first"), PAIRS)
    assert pair.same == pytest.approx(10 / 12)
    assert pair.kappa == pytest.approx(0.0), "a judge that never decides agrees by chance only"
    assert found.agreements[1].pairs == 0, "broken verdicts are compared with nothing"


def test_kappa_and_the_sign_test_are_those_of_the_books() -> None:
    table = [[20, 5], [10, 15]]  # Cohen's worked example of two readers
    assert agreement.kappa(table) == pytest.approx(0.4)
    assert math.isnan(agreement.kappa([[5, 0], [0, 0]]))
    assert exact.sign_test(9, 1) == pytest.approx(0.021484375)
    assert exact.sign_test(0, 0) == 1.0


def test_cases_of_one_date_count_as_one(tmp_path: Path) -> None:
    tickers, dates = ("AAPL", "MSFT", "JPM"), sessions("2025-09-02", 2)
    made = make_run(tmp_path / "r", arms={"big": FakeArm(), "small": FakeArm()}, tickers=tickers, dates=dates, text="It fell.")
    add_replay(made, "big", "small", lambda call: {})
    add_judge(made, "fair", REPLAY, lambda call, order: "BA"[order])
    (one,) = judged_replays(load(made))

    bull = next(by for by in one.judges[0].roles if by.role == "bull")
    assert (bull.pairs, bull.rate.cases, bull.rate.dates) == (6, 6, 2)
    assert bull.p == 0.5


def test_a_run_that_nobody_judged_has_no_judges(tmp_path: Path) -> None:
    assert judged_replays(load(make_run(tmp_path / "r", tickers=("AAPL",), texts=False))) == []
