from __future__ import annotations

import math

import numpy as np
import pytest

from reports import verdict
from reports.metrics.catalog import all_metrics
from reports.metrics.measure import PairedTest
from reports.stats import exact, means
from reports.stats.estimate import Sample, of_mean, unknown
from reports.stats.means import Mean
from reports.verdict import WORDS, GoodEnough, Question, Verdict, of_question

METRICS = {metric.name: metric for metric in all_metrics()}


def word(sample: Sample, margin: float | None = None) -> str:
    return WORDS[int(verdict.word_index(sample, margin, 0.04))]


def question(name: str, sample: Sample, margin: float | None = None, dates: int = 20, cases: int = 200) -> Question:
    metric = METRICS[name]
    test = PairedTest(metric.scale, sample, of_mean(sample, cases, dates), unknown(), unknown(), metric.level)
    return Question(metric, margin, test)


def verdict_on(name: str, p: float, value: float = 0.0) -> Verdict:
    """A verdict whose margin has this p."""
    level = METRICS[name].level
    word_of_p = verdict.NOT_WORSE if p <= level else verdict.UNDECIDED
    return Verdict(word_of_p, 0.1, value, 0.0, level, value, value, 0.95, p, 1.0, 84, 28)


def gate(p_same: float, p_usable: float = 0.001, p_grounding: float = 0.001) -> GoodEnough:
    by_metric = {"same_rating": p_same, "usable": p_usable, "grounding": p_grounding}
    return verdict.good_enough("arm", {name: verdict_on(name, p) for name, p in by_metric.items()})


def test_each_of_the_five_words_has_its_place() -> None:
    assert word(Mean(0.10, 0.01, 19)) == "better"
    assert word(Mean(-0.10, 0.01, 19)) == "worse"
    assert word(Mean(0.0, 0.01, 19), margin=0.05) == "equivalent"
    assert word(Mean(0.02, 0.02, 19), margin=0.05) == "not worse"
    assert word(Mean(0.0, 0.10, 19), margin=0.05) == "undecided"


def test_a_real_difference_below_the_margin_counts_as_equivalent() -> None:
    assert word(Mean(0.01, 0.002, 19), margin=0.05) == "equivalent"
    assert word(Mean(0.01, 0.002, 19)) == "better"


def test_lower_is_better_where_the_metric_declares_it() -> None:
    cheaper = of_question(question("cost", Mean(math.log(0.1), 0.05, 19)))
    dearer = of_question(question("cost", Mean(math.log(3.0), 0.05, 19)))
    assert (cheaper.word, dearer.word) == ("better", "worse")
    assert dearer.loss > 2.0 > 0.0 == cheaper.loss


def test_the_bound_is_one_sided_and_towards_the_loss() -> None:
    given = of_question(question("same_rating", Mean(-0.01, 0.02, 27), margin=0.10, dates=28))
    assert given.word == "equivalent"
    assert given.bound == pytest.approx(-0.01 - 2.0518 * 0.02, abs=1e-4)
    assert given.loss == pytest.approx(-given.bound)
    assert given.level == 0.025
    assert given.low == pytest.approx(given.bound)
    assert given.confidence == 0.95


@pytest.mark.parametrize("value", np.linspace(-0.3, 0.3, 61))
def test_the_interval_that_is_drawn_shows_the_word(value: float) -> None:
    margin, given = 0.10, of_question(question("grounding", Mean(float(value), 0.04, 27), margin=0.10, dates=28))
    shown = {
        "better": given.low > 0,
        "worse": given.high < 0,
        "not worse": given.low > -margin,
        "equivalent": -margin < given.low and given.high < margin,
        "undecided": given.low <= 0 <= given.high and given.low <= -margin,
    }
    assert shown[given.word]
    if given.word in ("undecided", "not worse", "equivalent"):
        assert given.bound == given.low, "the bound in words is an end of the interval that is drawn"


def test_intervals_stay_inside_what_a_difference_of_shares_can_be() -> None:
    given = of_question(question("same_rating", Mean(-0.8, 0.4, 3), margin=0.10, dates=4))
    assert (given.low, given.bound, given.loss) == (-1.0, -1.0, 1.0)


def test_the_cases_that_it_asks_for_settle_it_if_the_arm_is_equal() -> None:
    sample, margin = Mean(0.0, 0.04, 19.0), 0.05
    dates = verdict.dates_needed(sample, margin, 20, 0.04)
    assert dates is not None
    assert sample.scaled(dates / 20).provable(0.04, 0.8) <= margin < sample.scaled((dates - 1) / 20).provable(0.04, 0.8)
    given = of_question(question("grounding", sample, margin), usd_per_case=0.5)
    assert given.more_cases == (dates - 20) * 10
    assert given.more_usd == pytest.approx(0.5 * given.more_cases)
    assert of_question(question("grounding", sample, margin)).more_usd is None


def test_no_cases_are_asked_for_to_confirm_a_difference_that_may_be_noise() -> None:
    assert of_question(question("excess_return_5", Mean(0.0143, 0.011, 19))).more_cases is None
    assert of_question(question("grounding", Mean(-0.045, 0.04, 19), 0.05)).more_cases is None


def test_one_date_is_undecided_and_says_why() -> None:
    given = of_question(question("cost", Mean(-1.0, math.nan, math.nan), dates=1))
    assert given.word == "undecided"
    assert "one date" in given.reason


def test_no_shared_case_is_undecided_and_says_why() -> None:
    given = of_question(Question(METRICS["cost"], None, None, "the cost is unknown in one of the two"))
    assert (given.word, given.reason) == ("undecided", "the cost is unknown in one of the two")


def test_an_arm_is_good_enough_if_every_metric_passes_at_its_own_level() -> None:
    assert gate(0.024, 0.039, 0.039).word == "good enough"
    assert gate(0.026, 0.001, 0.001).undecided == ("same_rating",)
    assert gate(0.001, 0.041, 0.001).word == "undecided"
    assert gate(0.024, 0.01, 0.01).p == pytest.approx(0.024 * 1.6)


def test_an_arm_that_loses_more_than_a_margin_is_not_good_enough() -> None:
    lost = of_question(question("usable", exact.paired(np.zeros(28), np.full(28, 2), np.full(28, 3)), 0.10, dates=28, cases=84))
    verdicts = {"same_rating": verdict_on("same_rating", 0.001), "usable": lost, "grounding": verdict_on("grounding", 0.001)}
    given = verdict.good_enough("arm", verdicts)
    assert (given.word, given.failing) == ("not good enough", ("usable",))


def test_a_metric_of_the_gate_without_a_test_leaves_the_arm_undecided() -> None:
    missing = Verdict("undecided", 0.05, reason="no text of this arm has a figure")
    verdicts = {"same_rating": verdict_on("same_rating", 0.001), "usable": verdict_on("usable", 0.001), "grounding": missing}
    given = verdict.good_enough("arm", verdicts)
    assert (given.word, given.undecided, given.p) == ("undecided", ("grounding",), 1.0)


def test_the_pick_is_the_cheapest_arm_that_passes_after_holm() -> None:
    arms = [GoodEnough(name, "", {}, (), (), p) for name, p in (("dear", 0.001), ("cheap", 0.013), ("cheapest", 0.03))]
    pick = verdict.pick(arms, {"dear": 0.3, "cheap": 0.02, "cheapest": 0.01})
    assert pick.p == pytest.approx({"dear": 0.003, "cheap": 0.026, "cheapest": 0.03})
    assert (pick.arm, pick.good) == ("cheapest", ("cheapest", "cheap", "dear"))
    worse = [*arms[:2], GoodEnough("cheapest", "", {}, (), (), 0.2)]
    assert verdict.pick(worse, {"dear": 0.3, "cheap": math.nan, "cheapest": 0.01}).good == ("dear", "cheap")
    assert verdict.pick([GoodEnough("bad", "", {}, (), (), 0.9)], {"bad": 0.1}).arm is None


def test_under_the_null_fewer_than_one_in_twenty_runs_gets_a_direction() -> None:
    rng = np.random.default_rng(5)
    runs, dates, tickers = 4000, 20, 10
    cells = rng.normal(size=(runs, dates, 1)) * 0.3**0.5 + rng.normal(size=(runs, dates, tickers)) * 0.7**0.5
    codes = verdict.word_index(means.of_dates(cells.mean(axis=2)), None, 0.04)
    assert np.isin(codes, [WORDS.index("better"), WORDS.index("worse")]).mean() < 0.05


def test_rare_failures_are_never_called_better_or_worse_by_chance_alone() -> None:
    rng = np.random.default_rng(6)
    fails = rng.random((2, 4000, 9, 3)) < 0.05
    gains, losses = (fails[1] & ~fails[0]).sum(axis=2), (fails[0] & ~fails[1]).sum(axis=2)
    codes = verdict.word_index(exact.paired(gains, losses, np.full(gains.shape, 3)), None, 0.04)
    assert np.isin(codes, [WORDS.index("better"), WORDS.index("worse")]).mean() < 0.05
