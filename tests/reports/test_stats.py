"""Statistics held against scipy, statsmodels and hand-worked cases; that verdicts hold is shown in benchmarks/."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats as oracle

from benchmarks import answers
from reports import design, verdict
from reports.metrics import outcomes
from reports.stats import agreement, exact, means
from reports.verdict import POWER


def test_the_mean_of_date_means_is_a_one_sample_t_test() -> None:
    values = np.random.default_rng(1).normal(0.3, 1, 12)
    ours = means.of_dates(values)
    theirs = oracle.ttest_1samp(values, 0.0)
    low, high = theirs.confidence_interval(0.95)
    assert ours.bounds(0.05) == pytest.approx((low, high))
    assert 2 * min(ours.p_above(0.0), ours.p_below(0.0)) == pytest.approx(theirs.pvalue)


def test_dates_without_a_value_do_not_count() -> None:
    with_gap, without = means.of_dates([1.0, math.nan, 2.0, 4.0]), means.of_dates([1.0, 2.0, 4.0])
    assert (with_gap.value, with_gap.se, with_gap.df) == pytest.approx((without.value, without.se, without.df))


def test_one_date_gives_a_value_and_no_interval() -> None:
    single = means.of_dates([0.7])
    assert single.value == 0.7
    assert np.isnan(single.bounds(0.05)).all()


def test_a_ratio_of_sums_is_linearised_over_dates() -> None:
    top, bottom = np.array([2.0, 3.0, 4.0, 6.0]), np.array([1.0, 2.0, 2.0, 2.0])
    found = means.ratio(top, bottom)
    assert found.value == pytest.approx(15 / 7)
    assert found.df == 3
    assert means.ratio([1.0, 2.0], [0.0, 0.0]).value is np.nan


def test_clopper_pearson_agrees_with_scipy() -> None:
    for events, cases in ((0, 27), (3, 27), (27, 27), (150, 400)):
        low, high = exact.share_bounds(events, cases, 0.05)
        theirs = oracle.binomtest(events, cases).proportion_ci(0.95, method="exact")
        assert (float(low), float(high)) == pytest.approx((theirs.low, theirs.high))


def test_a_paired_share_counts_discordant_cases_and_never_goes_beyond_one() -> None:
    found = exact.paired(np.array([3, 3, 3]), np.array([0, 0, 0]), np.array([3, 3, 3]))
    low, high = found.bounds(0.05)
    assert found.value == 1.0
    assert low < high == 1.0


def test_without_any_discordant_case_the_interval_still_says_how_few_there_were() -> None:
    few, many = (exact.paired(np.zeros(dates), np.zeros(dates), np.full(dates, 10)) for dates in (3, 30))
    assert few.bounds(0.05)[1] > many.bounds(0.05)[1] > 0.0


def test_failures_that_come_by_date_widen_the_interval() -> None:
    spread = exact.paired(np.zeros(10), np.ones(10), np.full(10, 10))
    on_one_date = exact.paired(np.zeros(10), np.array([10.0] + [0.0] * 9), np.full(10, 10))
    assert spread.value == on_one_date.value
    assert on_one_date.se > 1.5 * spread.se


def test_the_p_value_of_an_exact_sample_is_where_its_interval_meets_the_hypothesis() -> None:
    found = exact.paired(np.array([2, 3, 1, 2, 2]), np.array([0, 1, 0, 0, 0]), np.full(5, 5))
    p = float(found.p_above(0.0))
    assert float(found.bounds(2 * p)[0]) == pytest.approx(0.0, abs=1e-6)


def test_holm_agrees_with_statsmodels() -> None:
    from statsmodels.stats.multitest import multipletests

    p_values = [0.001, 0.04, 0.03, 0.2]
    theirs = multipletests(p_values, 0.05, method="holm")[1]
    ours = verdict.holm({str(place): p for place, p in enumerate(p_values)})
    assert list(ours.values()) == pytest.approx(list(theirs))


def test_stuart_maxwell_agrees_with_statsmodels() -> None:
    from statsmodels.stats.contingency_tables import SquareTable

    table = np.array([[20, 10, 5], [3, 30, 15], [0, 5, 40]])
    theirs = SquareTable(table, shift_zeros=False).homogeneity(method="stuart_maxwell")
    chi2, df, p = agreement.stuart_maxwell(table)
    assert (chi2, df, p) == pytest.approx((theirs.statistic, theirs.df, theirs.pvalue))


def test_ratings_that_nobody_used_are_left_out_of_the_shift() -> None:
    chi2, df, p = agreement.stuart_maxwell(np.diag([0.0, 0.0, 12.0, 0.0, 0.0]))
    assert (chi2, df, p) == (0.0, 0, 1.0)


def test_weighted_kappa_agrees_with_statsmodels() -> None:
    from statsmodels.stats.inter_rater import cohens_kappa

    table = np.array([[8, 2, 0, 0, 1], [1, 9, 3, 0, 0], [0, 2, 12, 2, 0], [0, 0, 3, 7, 1], [0, 0, 0, 2, 6]])
    assert float(agreement.weighted_kappa(table)) == pytest.approx(cohens_kappa(table, wt="quadratic").kappa)


def test_ac1_holds_up_where_hold_dominates_and_kappa_collapses() -> None:
    table = np.diag([0.0, 1.0, 97.0, 0.0, 0.0])
    table[2, 1] = table[1, 2] = 1.0
    assert float(agreement.ac1(table)) > 0.95
    assert float(agreement.weighted_kappa(table)) < 0.6


def test_ac1_agrees_with_gwets_worked_example() -> None:
    # Gwet (2008), two raters, two categories: 118, 5, 2, 0 of 125 subjects.
    assert float(agreement.ac1(np.array([[118.0, 5.0], [2.0, 0.0]]))) == pytest.approx(0.9408, abs=5e-4)


def test_repeats_are_compared_pair_by_pair() -> None:
    twice_buy_once_hold = np.array([[0, 0, 1, 0, 2]])
    table = agreement.against_itself(twice_buy_once_hold, [3])
    assert np.trace(table[0]) == pytest.approx(1 / 3)
    assert np.isnan(agreement.against_itself(np.array([[0, 0, 1, 0, 0]]), [1])).all()


def test_a_quantile_has_an_interval_around_it() -> None:
    rng = np.random.default_rng(3)
    value, low, high = means.quantile(rng.lognormal(size=400), np.repeat(np.arange(20), 20), 0.95)
    assert low < value < high
    assert np.isnan(means.quantile([], [], 0.5)).all()


def test_windows_that_overlap_are_left_out_and_neighbours_may_touch() -> None:
    spans = [(date, date + 1, date + 6) for date in range(0, 30, 5)]
    assert outcomes.non_overlapping(spans) == [0, 5, 10, 15, 20, 25]
    assert outcomes.non_overlapping([(date, date + 1, date + 21) for date in range(0, 100, 5)]) == [0, 20, 40, 60, 80]
    assert outcomes.non_overlapping([]) == []


def test_windows_are_counted_before_a_run_from_its_dates_alone() -> None:
    weekly = np.arange("2025-03-03", "2025-07-21", 7, dtype="datetime64[D]")
    assert outcomes.windows_of_dates(list(weekly), 20) == 5
    assert outcomes.windows_of_dates(list(weekly), 5) == len(weekly)


GATE = {"same_rating": 0.10, "usable": 0.10, "grounding": 0.05}


@pytest.mark.parametrize(
    ("repeats", "cases"), [((2, 1), 204), ((3, 1), 123), ((3, 3), 81), ((4, 4), 54), ((6, 6), 33)], ids=str
)
def test_a_margin_of_ten_points_needs_as_many_cases_as_simulated(repeats: tuple[int, int], cases: int) -> None:
    dates = design.dates_needed({"same_rating": 0.10}, design.Design(12, 3, *repeats))
    assert dates is not None
    assert 3 * dates == pytest.approx(cases, rel=0.1, abs=6)


def test_margin_five_costs_nearly_four_times_margin_ten() -> None:
    wide, narrow = (design.dates_needed({"same_rating": each}, design.Design(28, 3, 3, 3)) for each in (0.10, 0.05))
    assert wide is not None
    assert narrow is not None
    assert narrow / wide == pytest.approx(3.7, abs=0.3)


def test_the_planned_power_of_the_standard_design_is_the_simulated_one() -> None:
    standard = design.Design(28, 3, 3, 3)
    assert design.good_enough_power(GATE, standard) == pytest.approx(0.82, abs=0.03)
    assert design.good_enough_power(GATE, standard, own_view=True) == pytest.approx(0.76, abs=0.03)


def test_without_repeats_of_the_baseline_same_rating_is_settled_at_no_margin() -> None:
    once = design.Design(100, 3, 1, 1)
    assert design.power("same_rating", 0.3, once) == 0.0
    assert design.smallest_margin("same_rating", once) is None


def test_usable_without_a_failure_needs_as_many_cases_as_the_exact_formula_says() -> None:
    for cases in (30, 40):
        passes = design.power("usable", 0.10, design.Design(cases, 1, 3, 3), design.Assumptions(failing=0.0)) == 1.0
        assert passes == (cases >= math.log(0.04) / math.log(0.9))


def test_one_failing_answer_in_a_hundred_is_part_of_the_planned_power_of_usable() -> None:
    quick, smaller = design.Design(17, 3, 3, 3), design.Design(15, 3, 3, 3)
    margins = {"same_rating": 0.15, "usable": 0.10, "grounding": 0.10}
    assert design.good_enough_power(margins, quick) == pytest.approx(
        answers.one_arm(2, answers.QUICK, 600)["good_equal"], abs=0.04
    )
    assert design.good_enough_power(margins, smaller) < POWER < design.good_enough_power(margins, quick)
    never, often = (design.Assumptions(failing=share) for share in (0.0, 0.05))
    assert design.power("usable", 0.10, smaller, never) == 1.0
    assert design.power("usable", 0.10, smaller, often) < 0.4


def test_more_dates_help_more_than_more_cases_of_the_same_dates() -> None:
    wide = design.detectable("cost", cases=200, dates=20)
    deep = design.detectable("cost", cases=200, dates=5)
    assert wide is not None
    assert deep is not None
    assert wide < deep
    assert design.detectable("cost", cases=10, dates=1) is None


def test_an_unknown_metric_is_named_with_those_that_are_known() -> None:
    with pytest.raises(KeyError, match="known: cost"):
        design.metric_named("profit")
