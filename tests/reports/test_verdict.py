from __future__ import annotations

import math

import numpy as np
import pytest

from reports import verdict
from reports.metrics.catalog import all_metrics
from reports.metrics.measure import PairedTest as Compared
from reports.stats import exact, means
from reports.stats.estimate import Sample, of_mean
from reports.stats.means import Mean
from reports.verdict import WORDS, Question, verdicts

METRICS = {metric.name: metric for metric in all_metrics()}


def word(sample: Sample, margin: float | None = None) -> str:
    return WORDS[int(verdict.word_index(sample, margin))]


def question(name: str, sample: Mean, margin: float | None = None, dates: int = 20, cases: int = 200) -> Question:
    metric = METRICS[name]
    scale = metric.scale
    return Question(metric, margin, Compared(scale, sample, of_mean(sample, cases, dates)))


def test_each_of_the_five_words_has_its_place() -> None:
    assert word(Mean(0.10, 0.01, 19)) == "better"
    assert word(Mean(-0.10, 0.01, 19)) == "worse"
    assert word(Mean(0.0, 0.01, 19), margin=0.05) == "equivalent"
    assert word(Mean(0.0, 0.02, 19), margin=0.05) == "not worse"
    assert word(Mean(0.0, 0.10, 19), margin=0.05) == "cannot tell"


def test_a_real_difference_below_the_margin_counts_as_equivalent() -> None:
    assert word(Mean(0.01, 0.002, 19), margin=0.05) == "equivalent"
    assert word(Mean(0.01, 0.002, 19)) == "better"


def test_a_lucky_small_sample_proves_no_equivalence() -> None:
    inside_but_two_windows = Mean(0.0, 0.005, 1)
    low, high = inside_but_two_windows.bounds(2 * verdict.LEVEL)
    assert -0.05 < low < high < 0.05
    assert word(inside_but_two_windows, margin=0.05) != "equivalent"


def test_lower_is_better_where_the_metric_declares_it() -> None:
    cheaper = verdicts({"cost": question("cost", Mean(math.log(0.1), 0.05, 19))}, None)["cost"]
    dearer = verdicts({"cost": question("cost", Mean(math.log(3.0), 0.05, 19))}, None)["cost"]
    assert (cheaper.word, dearer.word) == ("better", "worse")


def test_what_cannot_be_told_says_how_many_cases_and_dollars_would_settle_it() -> None:
    given = verdicts({"usable": question("usable", Mean(0.001, 0.02, 19), margin=0.02)}, usd_per_case=0.5)["usable"]
    assert given.word == "cannot tell"
    assert given.detectable == pytest.approx(0.02 * 3.1, rel=0.1)
    assert given.more_cases is not None
    assert given.more_cases > 200
    assert given.more_usd == pytest.approx(0.5 * given.more_cases)


def test_the_cases_that_it_asks_for_do_settle_it() -> None:
    sample, margin = Mean(0.0, 0.02, 19.0), 0.02
    dates = verdict.dates_needed(sample, margin, 20)
    assert dates is not None
    assert word(sample.scaled(dates / 20), margin) == "equivalent"
    assert word(sample.scaled(dates / 40), margin) != "equivalent"


def test_unknown_cost_gives_no_dollars() -> None:
    given = verdicts({"usable": question("usable", Mean(0.0, 0.02, 19), margin=0.02)}, usd_per_case=None)["usable"]
    assert given.more_cases is not None
    assert given.more_usd is None


def test_one_date_cannot_tell_and_says_why() -> None:
    given = verdicts({"cost": question("cost", Mean(-1.0, math.nan, math.nan), dates=1)}, 0.1)["cost"]
    assert given.word == "cannot tell"
    assert "one date" in given.reason


def test_no_shared_case_cannot_tell_and_says_why() -> None:
    given = verdicts({"cost": Question(METRICS["cost"], None, None, "the cost is unknown in one of the two")}, 0.1)["cost"]
    assert (given.word, given.reason) == ("cannot tell", "the cost is unknown in one of the two")


def test_more_declared_metrics_make_each_of_them_harder() -> None:
    nearly = Mean(0.024, 0.01, 19)
    alone = verdicts({"usable": question("usable", nearly)}, None)["usable"]
    names = ("usable", "similarity", "valid", "typed")
    together = verdicts({name: question(name, nearly) for name in names}, None)["usable"]
    assert (alone.word, together.word) == ("better", "cannot tell")
    assert together.p_holm > alone.p_holm


def test_under_the_null_fewer_than_one_in_twenty_runs_gets_a_direction() -> None:
    rng = np.random.default_rng(5)
    runs, dates, tickers = 4000, 20, 10
    cells = rng.normal(size=(runs, dates, 1)) * 0.3**0.5 + rng.normal(size=(runs, dates, tickers)) * 0.7**0.5
    codes = verdict.word_index(means.of_dates(cells.mean(axis=2)), None)
    assert np.isin(codes, [verdict.BETTER, verdict.WORSE]).mean() < 0.05


def test_rare_failures_are_never_called_better_or_worse_by_chance_alone() -> None:
    rng = np.random.default_rng(6)
    fails = rng.random((2, 4000, 9, 3)) < 0.05
    gains, losses = (fails[1] & ~fails[0]).sum(axis=2), (fails[0] & ~fails[1]).sum(axis=2)
    codes = verdict.word_index(exact.paired(gains, losses, np.full(gains.shape, 3)), None)
    assert np.isin(codes, [verdict.BETTER, verdict.WORSE]).mean() < 0.05
