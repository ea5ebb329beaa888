from __future__ import annotations

import datetime as dt
import math
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from reports import load
from reports.answer.findings import find
from reports.answer.sentences import takeaways
from reports.metrics import catalog, registry
from reports.metrics.catalog import all_metrics
from reports.metrics.facts import Facts
from reports.metrics.measure import MetricData
from reports.metrics.similarity import similarities
from tests.reports.synthetic import FakeArm, make_tables, sessions

ONE_DATE = [dt.date(2025, 9, 2)]


def measured(folder: Path, name: str) -> MetricData:
    facts = Facts(load(folder))
    return MetricData(facts, next(metric for metric in all_metrics(facts.run.settings.horizons) if metric.name == name))


def test_every_metric_has_a_footnote_and_a_title() -> None:
    for metric in all_metrics():
        assert len(metric.footnote) >= 40, metric.name
        assert metric.title


def test_outcomes_come_once_per_horizon_of_the_experiment() -> None:
    assert {metric.name for metric in all_metrics([3])} >= {"hit_rate_3", "excess_return_3", "rank_correlation_3"}
    assert "excess_return_5" in catalog.metric_names()
    assert "score" not in catalog.metric_names(), "neither direction is better"


def test_repeats_are_collapsed_inside_the_case_and_add_no_cases(tmp_path: Path) -> None:
    found = measured(make_tables(tmp_path / "r", repeats=3), "cost").value("gpt-5")
    assert found.cases == 24
    assert found.dates == 8


def test_cost_per_decision_is_the_mean_of_the_cells(tmp_path: Path) -> None:
    folder = make_tables(tmp_path / "r")
    cells = load(folder).cells
    expected = cells.loc[cells["arm"] == "gpt-5", "cost_usd"].mean()
    found = measured(folder, "cost").value("gpt-5")
    assert found.value == pytest.approx(expected)
    assert found.low < expected < found.high


def test_a_usable_decision_carries_the_cost_of_the_unusable_ones(tmp_path: Path) -> None:
    folder = make_tables(tmp_path / "r", arms={"a": FakeArm(), "b": FakeArm(unparsed=0.4)})
    cells = load(folder).cells
    mine = cells[cells["arm"] == "b"]
    found = measured(folder, "cost").value("b")
    assert found.value == pytest.approx(mine["cost_usd"].sum() / mine["rating"].notna().sum())
    assert found.value > mine["cost_usd"].mean()


def test_unknown_cost_stays_unknown(tmp_path: Path) -> None:
    folder = make_tables(tmp_path / "r", arms={"a": FakeArm(), "b": FakeArm(cost_usd=None)})
    found = measured(folder, "cost").value("b")
    assert math.isnan(found.value)
    assert found.missing == 24
    assert measured(folder, "cost").test("b", "a") is None


def test_cold_caches_are_priced_beside_the_bill(tmp_path: Path) -> None:
    folder = make_tables(tmp_path / "r", arms={"a": FakeArm(), "b": FakeArm(cost_usd=None), "rule": FakeArm(rule="macd")})
    facts = Facts(load(folder))
    facts.run.calls["cold_usd"] = facts.run.calls["cost_usd"] * 2
    cold = MetricData(facts, next(metric for metric in all_metrics() if metric.name == "cold_cost"))
    assert cold.value("a").value == pytest.approx(2 * measured(folder, "cost").value("a").value)
    assert math.isnan(cold.value("b").value)
    assert cold.value("rule").value == 0.0


def test_a_rule_that_costs_nothing_is_compared_in_dollars(tmp_path: Path) -> None:
    test = measured(make_tables(tmp_path / "r", arms={"a": FakeArm(), "rule": FakeArm(rule="macd")}), "cost").test("rule", "a")
    assert test is not None
    assert test.scale == "difference"
    assert test.estimate.value == pytest.approx(-0.24, rel=0.1)


def test_failed_cells_count_in_usable_and_not_in_valid(tmp_path: Path) -> None:
    folder = make_tables(tmp_path / "r", arms={"a": FakeArm(), "b": FakeArm(failing=0.5)})
    assert measured(folder, "usable").value("b").value < 0.8
    assert measured(folder, "valid").value("b").value == 1.0


def test_an_arm_against_its_own_twin_agrees_as_often_as_with_itself(tmp_path: Path) -> None:
    arms = {"a": FakeArm(noise=0.5), "twin": FakeArm(noise=0.5), "other": FakeArm(noise=2.5)}
    folder = make_tables(tmp_path / "r", arms=arms, repeats=4, dates=sessions("2025-09-02", 20))
    similarity = measured(folder, "same_rating")
    twin, other = similarity.test("twin", "a"), similarity.test("other", "a")
    assert twin is not None
    assert other is not None
    assert twin.estimate.low < 0 < twin.estimate.high
    assert other.estimate.high < 0
    ratio = similarities(Facts(load(folder)))["twin"].kappa_ratio
    assert ratio.low < 1 < ratio.high


def test_similarity_is_counted_over_all_pairs_of_repeats(tmp_path: Path) -> None:
    folder = make_tables(tmp_path / "r", arms={"a": FakeArm(rating="Buy"), "b": FakeArm(rating="Buy", unparsed=0.5)}, repeats=4)
    assert measured(folder, "same_rating").value("b").value == 1.0
    of_all = measured(folder, "same_rating_of_all").value("b").value
    cells = load(folder).cells
    assert of_all == pytest.approx(cells.loc[cells["arm"] == "b", "rating"].notna().mean())


def test_hits_and_excess_follow_the_direction_of_the_decision(tmp_path: Path) -> None:
    folder = make_tables(
        tmp_path / "r", arms={"a": FakeArm(rating="Buy"), "bear": FakeArm(rating="Sell"), "h": FakeArm(rating="Hold")}
    )
    hits, excess = measured(folder, "hit_rate_5"), measured(folder, "excess_return_5")
    assert hits.value("a").value == pytest.approx(1 - hits.value("bear").value)
    assert excess.value("a").value == pytest.approx(-excess.value("bear").value)
    assert excess.value("h").value == 0.0
    assert math.isnan(hits.value("h").value), "a Hold claims no direction"


def test_an_arm_that_knows_the_future_ranks_it(tmp_path: Path) -> None:
    arms = {"seer": FakeArm(skill=3.0, noise=0.1), "blind": FakeArm()}
    folder = make_tables(tmp_path / "r", arms=arms, tickers=list("ABCDEFGH"), by_date=0.0)
    ranks = measured(folder, "rank_correlation_5")
    assert ranks.value("seer").low > 0.5
    assert ranks.value("seer").cases == 8, "one value per date"


def test_the_rank_correlation_is_spearmans(tmp_path: Path) -> None:
    from scipy.stats import spearmanr

    folder = make_tables(tmp_path / "r", tickers=list("ABCDEF"), dates=ONE_DATE, arms={"a": FakeArm(skill=1.0)})
    facts = Facts(load(folder))
    scores, excess = facts.by_case(facts.score)["a"], facts.excess(5)
    assert measured(folder, "rank_correlation_5").value("a").value == pytest.approx(spearmanr(scores, excess).statistic)


def test_the_debate_is_measured_from_the_stages(tmp_path: Path) -> None:
    folder = make_tables(tmp_path / "r", repeats=2)
    assert 0 < measured(folder, "debate_changed").value("gpt-5").value < 1
    assert math.isfinite(measured(folder, "risk_shift").value("gpt-5").value)


def test_adding_a_metric_is_one_decorated_function(tmp_path: Path) -> None:
    catalog.all_metrics()
    before = dict(registry.METRICS)
    try:

        @registry.metric("length of the rationale", group="decisions", unit="tokens")
        def rationale_length(facts: Facts) -> Any:
            """Characters of the decision's own reasoning: a metric that was added in a test by one function."""
            return facts.by_case(facts.cells["rationale"].str.len())

        row = find(load(make_tables(tmp_path / "r", texts=True))).row("rationale_length")
        assert row.values["gpt-5"].value > 10
        assert "gpt-5" not in row.comparisons
        assert row.metric.footnote.startswith("Characters")
    finally:
        registry.METRICS.clear()
        registry.METRICS.update(before)


BAD: dict[str, dict[str, Any]] = {
    "one date": {"dates": ONE_DATE},
    "one ticker": {"tickers": ["AAPL"]},
    "one case": {"dates": ONE_DATE, "tickers": ["AAPL"]},
    "one repeat and no floor": {"repeats": 1},
    "all cells of an arm failed": {"arms": {"a": FakeArm(), "b": FakeArm(failing=1.0)}},
    "all cells of the baseline failed": {"arms": {"a": FakeArm(failing=1.0), "b": FakeArm()}},
    "everything failed": {"arms": {"a": FakeArm(failing=1.0), "b": FakeArm(failing=1.0)}},
    "all Hold": {"arms": {"a": FakeArm(rating="Hold"), "b": FakeArm(rating="Hold")}, "repeats": 2},
    "outcomes pending": {"outcomes": "pending"},
    "no outcomes": {"outcomes": "absent"},
    "arms with different cases": {"arms": {"a": FakeArm(), "b": FakeArm(skip=["AAPL@2025-09-02", "MSFT@2025-09-02"])}},
    "arms without a common case": {
        "dates": ONE_DATE,
        "arms": {"a": FakeArm(skip=["AAPL@2025-09-02"]), "b": FakeArm(skip=["MSFT@2025-09-02", "JPM@2025-09-02"])},
    },
    "zero cost": {"arms": {"a": FakeArm(cost_usd=0.0), "b": FakeArm(cost_usd=0.0)}},
    "NULL costs": {"arms": {"a": FakeArm(cost_usd=None), "b": FakeArm(cost_usd=None)}},
    "one arm": {"arms": {"a": FakeArm()}},
    "a model without a cutoff": {"arms": {"a": FakeArm(), "b": FakeArm("mystery-9b", "ollama")}},
    "interim without a whole case": {
        "dates": ONE_DATE,
        "tickers": ["AAPL"],
        "arms": {"a": FakeArm(), "b": FakeArm(skip=["AAPL@2025-09-02"])},
        "state": "stopped",
    },
    "nothing declared": {"compare": {"baseline": "gpt-5", "endpoints": {}}},
}


@pytest.mark.parametrize("case", BAD)
def test_bad_input_gives_findings_without_inventing_any(case: str, tmp_path: Path) -> None:
    with np.errstate(all="raise", under="ignore"):
        found = find(load(make_tables(tmp_path / "r", **BAD[case])))
    for row in found.rows:
        for estimate in row.values.values():
            assert not (math.isnan(estimate.value) and math.isfinite(estimate.low)), row.metric.name
            assert estimate.low <= estimate.value + 1e-9 or math.isnan(estimate.low), row.metric.name
        for comparison in row.comparisons.values():
            if comparison.verdict is not None and comparison.verdict.word != "undecided":
                assert math.isfinite(comparison.estimate.low), row.metric.name


def test_a_run_without_cells_has_findings_and_no_takeaways(tmp_path: Path) -> None:
    folder = make_tables(tmp_path / "r", tickers=[], state="running")
    run = load(folder)
    found = find(run)
    assert found.cases == 0
    assert takeaways(run, found) == ()


def test_a_metric_that_does_not_exist_is_named_with_those_that_do(tmp_path: Path) -> None:
    folder = make_tables(tmp_path / "r", compare={"baseline": "gpt-5", "endpoints": {"profit": {}}})
    with pytest.raises(ValueError, match=r"unknown metric 'profit'.*known: cost"):
        find(load(folder))


@pytest.mark.parametrize(("lane", "is_known"), [("now", True), ("flex", False), ("batch", False)])
def test_latency_is_never_compared_between_lanes(tmp_path: Path, lane: str, is_known: bool) -> None:
    folder = make_tables(tmp_path / "r", arms={"a": FakeArm(), "b": FakeArm()})
    calls = pq.read_table(folder / "calls.parquet").to_pandas()
    calls["lane"] = calls["arm"].map({"a": "now", "b": lane})
    calls.to_parquet(folder / "calls.parquet")
    times = {name: measured(folder, name).value("b").value for name in ("service_time", "service_p95", "ttft")}
    assert all((value is not None and not math.isnan(value)) == is_known for value in times.values()), times
    assert measured(folder, "cost").value("b").value > 0


def test_arms_that_are_all_in_one_lane_are_compared_unless_it_is_deferred(tmp_path: Path) -> None:
    folder = make_tables(tmp_path / "r", arms={"a": FakeArm(), "b": FakeArm()})
    for lane, is_known in (("flex", True), ("background_8h", False)):
        calls = pq.read_table(folder / "calls.parquet").to_pandas().assign(lane=lane)
        calls.to_parquet(folder / "calls.parquet")
        value = measured(folder, "service_time").value("b").value
        assert (value is not None and not math.isnan(value)) == is_known
