"""The promise of "good enough" and of the pick, in worlds of known truth; benchmarks/answers.py has the full tables."""

from __future__ import annotations

import math

import pytest

from benchmarks import answers

RUNS = 1000
ERROR = 0.05 + 2.6 * math.sqrt(0.05 * 0.95 / RUNS)
"""The promised 5 % and the simulation's own error at 99 %."""


def test_the_standard_design_keeps_its_power_and_its_error() -> None:
    row = answers.one_arm(3, answers.STANDARD, RUNS)
    assert 0.77 <= row["good_equal"] <= 0.89
    assert 0.70 <= row["good_own_view"] <= 0.86
    assert row["good_minus_25"] < 0.01
    assert max(rate for name, rate in row.items() if name.startswith(("error", "wrongly"))) <= ERROR


@pytest.mark.parametrize("arms", ["all on the margin", "0, 0, -5, -10, -25"])
def test_the_pick_among_five_arms_is_wrong_in_at_most_5_percent(arms: str) -> None:
    assert answers.pick_of_five(4, arms, answers.FORTY, RUNS)["wrong"] <= ERROR


def test_the_pick_finds_an_arm_where_all_are_equal() -> None:
    assert answers.pick_of_five(5, "all equal", answers.FORTY, RUNS)["good"] > 0.8


def test_the_former_scheme_settled_nothing_however_many_cases() -> None:
    assert answers.former_scheme(6, 100, RUNS)["all settled"] < 0.01
