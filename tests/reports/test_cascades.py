"""Cascades computed from recorded answers: the whole curve, the promise, and which signal sorts errors best."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from reports import cascades
from reports.cascades import AGREEMENT, Frontier
from reports.format import percent_text
from reports.load import load
from reports.metrics.facts import Facts
from tests.reports.synthetic import FakeArm, make_tables, sessions

ARMS = {
    "hosted": FakeArm(cost_usd=0.2, noise=0.2),
    "local": FakeArm("llama3.1:8b", "ollama", 0.02, 200.0, unparsed=0.05, noise=1.2),
}


@pytest.fixture(scope="module")
def facts(tmp_path_factory: pytest.TempPathFactory) -> Facts:
    """Sixty cases on thirty dates; the local arm is sure of itself where it is right."""
    folder = make_tables(
        tmp_path_factory.mktemp("cascade") / "run", arms=ARMS, repeats=3, tickers=("AAPL", "MSFT"),
        dates=sessions("2023-01-02", 30), compare={"baseline": "hosted"},
    )  # fmt: skip
    run = load(folder)
    cells = run.cells.copy()
    usual = cells[cells["arm"] == "hosted"].groupby("case_id")["rating"].agg(lambda ratings: ratings.mode().iloc[0])
    is_right = cells["rating"] == cells["case_id"].map(usual)
    dice = np.random.default_rng(3)
    cells["confidence"] = np.where(is_right, dice.uniform(0.6, 0.95, len(cells)), dice.uniform(0.3, 0.7, len(cells)))
    return Facts(run.with_cells(cells))


def of_signal(facts: Facts, signal: str) -> Frontier:
    return next(frontier for frontier in cascades.frontiers(facts) if frontier.signal == signal)


def test_the_signal_that_sorts_errors_best_comes_first(facts: Facts) -> None:
    found = cascades.frontiers(facts)
    assert [frontier.signal for frontier in found] == ["stated confidence", AGREEMENT]
    assert found[0].sorts > 0.9 > found[1].sorts > 0.5


def test_a_bolder_threshold_keeps_more_costs_less_and_loses_more(facts: Facts) -> None:
    points = of_signal(facts, "stated confidence").points
    kept = [point.kept for point in points]
    costs = [point.usd_per_1000 or 0 for point in points]
    assert kept == sorted(kept)
    assert costs == sorted(costs, reverse=True)
    assert points[-1].kept > 0.9, "unusable answers are never kept"
    assert points[-1].excess > points[0].excess


def test_a_point_is_what_replaying_the_rule_over_the_answers_gives(facts: Facts) -> None:
    frontier = of_signal(facts, "stated confidence")
    point = frontier.points[len(frontier.points) // 2]
    counts = facts.counts("hosted")
    lost: list[float] = []
    kept: list[float] = []
    usd: list[float] = []
    hosted = facts.cells[facts.cells["arm"] == "hosted"].groupby("case_id")["cost_usd"].mean()
    for case_id, answers in facts.cells[facts.cells["arm"] == "local"].groupby("case_id"):
        given = dict(counts.loc[str(case_id)])
        repeats = sum(given.values())
        floor = sum(count * (count - 1) for count in given.values()) / (repeats * (repeats - 1))
        rows: list[dict[Any, Any]] = answers.to_dict("records")
        is_kept = [isinstance(row["rating"], str) and row["confidence"] >= point.threshold for row in rows]
        losses = [floor - given[row["rating"]] / repeats if stays else 0.0 for stays, row in zip(is_kept, rows, strict=True)]
        share = sum(is_kept) / len(rows)
        lost.append(sum(losses) / len(rows))
        kept.append(share)
        usd.append(float(answers["cost_usd"].mean()) + (1 - share) * float(hosted[case_id]))
    assert point.excess == pytest.approx(np.mean(lost))
    assert point.kept == pytest.approx(np.mean(kept))
    assert point.usd_per_1000 == pytest.approx(1000 * np.mean(usd))


def test_the_promise_is_stated_with_its_probability_and_price(facts: Facts) -> None:
    frontier = of_signal(facts, "stated confidence")
    chosen = frontier.chosen
    assert chosen is not None
    assert chosen.excess_bound <= cascades.MOST_EXCESS
    assert frontier.sentence.startswith(
        f"keep {percent_text(chosen.kept)} of cases with local: at most 5 points less alike (with 90\u202f% confidence)"
    )
    assert f"confidence_below: {chosen.threshold:.2f}" in frontier.yaml


def test_few_dates_promise_nothing(facts: Facts) -> None:
    few = facts.cells[facts.cells["date"] < facts.cells["date"].sort_values().unique()[10]]
    frontier = of_signal(Facts(facts.run.with_cells(few)), "stated confidence")
    assert frontier.chosen is None
    assert "10 dates are fewer than the 20 that a promise needs" in frontier.sentence


def test_without_repeats_of_the_baseline_there_is_no_curve(facts: Facts) -> None:
    once = facts.cells[facts.cells["repeat"] == 0]
    assert cascades.frontiers(Facts(facts.run.with_cells(once))) == []


def test_an_arm_that_costs_as_much_as_the_baseline_is_not_asked_first(facts: Facts) -> None:
    dear = facts.cells.assign(cost_usd=facts.cells["cost_usd"].where(facts.cells["arm"] == "hosted", 0.5))
    assert cascades.frontiers(Facts(facts.run.with_cells(dear))) == []


def test_only_cases_that_both_lineups_met_are_on_the_curve(facts: Facts) -> None:
    dates = sorted(facts.cells["date"].unique())

    def met(hosted: Any, local: Any) -> list[Frontier]:
        own = facts.cells["arm"].map({"hosted": set(hosted), "local": set(local)})
        is_met = [date in days for date, days in zip(facts.cells["date"], own, strict=True)]
        return cascades.frontiers(Facts(facts.run.with_cells(facts.cells[is_met])))

    assert {(frontier.cases, frontier.dates) for frontier in met(dates[:25], dates[10:])} == {(30, 15)}
    assert met(dates[:10], dates[15:]) == [], "no case in common"
