from __future__ import annotations

import datetime as dt
import math
from pathlib import Path
from typing import Any

import pytest

from reports import load
from reports.metrics.facts import Facts
from reports.returns.eligible_cases import EligibleCases
from reports.returns.placebos import Placebo, placebos
from reports.settings import Settings
from reports.trust import cutoffs
from tests.reports.synthetic import FakeArm, make_run, sessions


def by_name(folder: Path, arm: str) -> dict[str, Placebo]:
    facts = Facts(load(folder))
    return {one.name: one for one in placebos(facts, 5, cases_of(facts)) if one.arm == arm}


def cases_of(facts: Facts) -> dict[str, Any]:
    eligible = EligibleCases(facts)
    return {arm: eligible.cases(5, arm) for arm in facts.arms}


def test_each_arm_stands_beside_three_placebos_on_its_own_cases(tmp_path: Path) -> None:
    found = by_name(make_run(tmp_path / "r"), "gpt-5")
    assert set(found) == {"always buy", "coin", "momentum"}
    assert {one.estimate.cases for one in found.values()} == {24}


def test_an_arm_that_always_buys_is_its_own_coin(tmp_path: Path) -> None:
    found = by_name(make_run(tmp_path / "r", arms={"bull": FakeArm(rating="Buy")}), "bull")
    assert found["always buy"].estimate.value == pytest.approx(found["coin"].estimate.value)
    assert math.isnan(found["coin"].beaten_share), "it neither beats nor loses to what is the same"


def test_an_arm_that_knows_the_future_beats_its_coin_and_a_blind_one_does_not(tmp_path: Path) -> None:
    arms = {"seer": FakeArm(skill=3.0, noise=0.1), "blind": FakeArm()}
    folder = make_run(tmp_path / "r", arms=arms, dates=sessions("2025-09-02", 20))
    assert by_name(folder, "seer")["coin"].beaten_share > 0.99
    assert 0.025 < by_name(folder, "blind")["coin"].beaten_share < 0.975


def test_placebos_are_the_same_each_time(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "r")
    assert by_name(folder, "gpt-5")["coin"] == by_name(folder, "gpt-5")["coin"]


def test_there_are_none_where_no_case_may_carry_a_claim(tmp_path: Path) -> None:
    assert by_name(make_run(tmp_path / "r", dates=sessions("2023-01-03", 8)), "gpt-5") == {}
    assert by_name(make_run(tmp_path / "r2", outcomes="pending"), "gpt-5") == {}


def test_momentum_says_for_how_many_cases_it_is_known(tmp_path: Path) -> None:
    folder = make_run(tmp_path / "r", outcomes="known")
    facts = Facts(load(folder))
    facts.run.daily = facts.run.daily[facts.run.daily["date"] >= "2025-09-20"]
    found = {one.name: one for one in placebos(facts, 5, cases_of(facts)) if one.arm == "gpt-5"}["momentum"]
    assert "daily prices begin too late" in found.note


def test_cases_are_before_grey_or_after_and_a_hybrid_knows_what_its_best_model_knows() -> None:
    experiment = {
        "models": {"big": {"model": "gpt-5"}, "small": {"model": "llama3.1:8b"}},
        "arms": {"hybrid": {"deep": "big", "quick": "small"}, "rule": {"rule": "macd"}, "odd": {"all": "big", "x": "y"}},
    }
    settings = Settings.of(experiment)
    hybrid = cutoffs.of_arm(settings, "hybrid")
    assert hybrid.cutoff is not None
    assert hybrid.cutoff.model == "gpt-5"
    dates = (dt.date(2024, 6, 1), dt.date(2024, 9, 1), dt.date(2024, 12, 29), dt.date(2024, 12, 30))
    assert [hybrid.stratum(date) for date in dates] == ["before", "grey", "grey", "after"]
    assert cutoffs.of_arm(settings, "rule").stratum(dt.date(1999, 1, 1)) == "after"


def test_one_unknown_model_leaves_an_arm_without_a_claim() -> None:
    experiment = {"models": {"m": {"model": "mystery-9b"}}, "arms": {"m": {"all": "m"}}}
    assert cutoffs.of_arm(Settings.of(experiment), "m").stratum(dt.date(2030, 1, 1)) == "unknown"
