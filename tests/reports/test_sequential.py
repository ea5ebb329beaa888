"""Tests at several looks: the published levels, flags that stay, non-binding drops, Holm over the arms that started."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from benchmarks import sequential as simulation
from benchmarks import worlds
from reports.roles import screening
from reports.stats import sequential
from reports.verdict import not_worse_test

GATE = not_worse_test()
FINE, POOR = 1e-9, 0.9


def standing_after(p: Any, look: int, looks: int = 4, estimates: Any = None, before: Any = None) -> sequential.Standing:
    p = np.asarray(p, dtype=float)
    before = before or sequential.before_any_look(p.shape[:-1], GATE)
    shown = np.zeros(p.shape) if estimates is None else np.asarray(estimates)
    return sequential.after_look(before, GATE, p, shown, np.ones(p.shape[:-1], bool), look, looks)


@pytest.mark.parametrize(("level", "looks"), sequential.LEVELS)
def test_the_table_of_levels_is_what_the_recursion_gives(level: float, looks: int) -> None:
    assert sequential.LEVELS[level, looks] == pytest.approx(sequential.recursion(level, looks), rel=1e-5)


@pytest.mark.parametrize("level", [0.025, 0.04])
def test_the_chance_to_cross_by_each_look_is_what_may_be_spent(level: float) -> None:
    """Against the multivariate normal distribution of three looks, which the recursion does not use."""
    bounds = stats.norm.isf(sequential.look_levels(level, 3))
    for look in (1, 2, 3):
        times = np.arange(1, look + 1)
        correlation = np.sqrt(np.minimum.outer(times, times) / np.maximum.outer(times, times))
        never = stats.multivariate_normal(cov=correlation, maxpts=10**6, abseps=1e-7).cdf(bounds[:look])
        assert 1 - never == pytest.approx(sequential.spent(level, look / 3), abs=2e-5)


def test_the_published_bounds_of_four_looks() -> None:
    """Lan and DeMets 1983, as in Jennison and Turnbull 2000, one-sided 2.5 %: z = 4.333, 2.963, 2.359, 2.014."""
    assert stats.norm.isf(sequential.look_levels(0.025, 4)) == pytest.approx([4.333, 2.963, 2.359, 2.014], abs=0.001)


def test_a_sequential_p_below_the_level_is_a_rejection_at_that_look() -> None:
    for look, nominal in enumerate(sequential.look_levels(0.04, 4), start=1):
        assert sequential.sequential_p(nominal * 0.97, look, 4) < 0.04 < sequential.sequential_p(nominal * 1.03, look, 4)


def test_a_flag_stays_although_later_data_take_it_back() -> None:
    first = standing_after([[FINE, POOR, FINE]], look=2)
    assert not first.is_good.any()
    second = standing_after([[POOR, FINE, POOR]], look=3, before=first)
    assert second.is_good.all()
    assert second.settled_at.tolist() == [3]


def test_an_arm_far_below_a_margin_is_dropped_but_never_at_the_last_look() -> None:
    unclear = [[POOR, POOR, POOR]]
    assert not standing_after(unclear, 1, estimates=[[-0.14, 0.0, 0.0]]).is_dropped.any(), "1.5 margins at first"
    assert standing_after(unclear, 1, estimates=[[-0.16, 0.0, 0.0]]).is_dropped.all()
    assert standing_after(unclear, 3, estimates=[[0.0, 0.0, -0.051]]).is_dropped.all(), "one margin at the end"
    assert not standing_after(unclear, 4, estimates=[[-0.5, -0.5, -0.5]]).is_dropped.any()


def test_an_unknown_p_or_estimate_decides_nothing() -> None:
    nothing = [[np.nan, np.nan, np.nan]]
    standing = standing_after(nothing, 4, estimates=nothing)
    assert not standing.flags.any()
    assert not standing.is_dropped.any()


def test_the_recommendation_is_corrected_over_the_arms_that_started() -> None:
    p = sequential.look_levels(0.04, 4)[3] * 0.9
    both = standing_after([[FINE, p, FINE], [FINE, POOR, FINE]], look=4)
    everyone, only_first = np.array([True, True]), np.array([True, False])
    assert both.is_good.tolist() == [True, False]
    assert sequential.recommended(both, GATE, everyone) == -1, "at its own level only"
    assert sequential.recommended(both, GATE, only_first) == 0


def test_arms_go_on_until_a_cheaper_one_is_recommended() -> None:
    everyone = np.array([True, True, True])
    standing = standing_after([[POOR] * 3, [FINE] * 3, [POOR] * 3], look=3)
    assert sequential.still_open(standing, GATE, everyone, 3, 4).tolist() == [True, False, False]
    assert not sequential.still_open(standing, GATE, everyone, 4, 4).any()


def test_blocks_are_equal_and_their_order_is_fixed_by_a_hash() -> None:
    dates = [f"2025-01-{day:02d}" for day in range(1, 15)]
    order = sequential.shuffled(dates)
    assert order == sequential.shuffled(reversed(dates))
    assert order != dates
    assert {len(block) for block in sequential.blocks(order, 4)} == {3}


def test_simulated_wrong_claims_stay_below_five_per_cent_and_far_worse_arms_stop_early() -> None:
    """Few runs; benchmarks/sequential.py has the whole tables."""
    row = simulation.one_arm(1, "standard", 28, 4, simulation.STANDARD, runs=250)
    assert row["good_on_margin"] <= 0.05 + 2.6 * 0.0138
    assert row["dates_used_minus_25"] < 0.35 < 0.6 < row["dates_used_on_margin"] < 0.8 < row["dates_used_equal"]


def test_the_screen_drops_hopeless_models_and_keeps_good_ones() -> None:
    dropped = simulation.is_screened_out(np.random.default_rng(1), [worlds.EQUAL, worlds.FAR], 2_000).mean(axis=0)
    assert dropped[0] < 0.02
    assert dropped[1] > 0.88


def test_a_candidate_with_unreadable_answers_is_dropped() -> None:
    wanted = [(f"case{case}", role) for case in range(8) for role in ("trader", "portfolio_manager")]
    silent = screening.screened([], [], wanted)
    assert silent.is_dropped
    assert silent.readable == 0
    assert silent.unreadable_roles == ("trader", "portfolio_manager")


def test_a_candidate_that_failed_on_every_call_is_dropped_by_the_screen() -> None:
    wanted = [(f"AAPL@{day}", "trader") for day in range(8)]
    result = screening.screened([], [], wanted)
    assert result.is_dropped
    assert result.reasons == ("none of its 8 requests was answered",)
