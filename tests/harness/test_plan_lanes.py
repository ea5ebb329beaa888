"""The plan's lanes side by side, and the cheapest one that ends in time."""

from __future__ import annotations

import datetime as dt
import io
from pathlib import Path

import pandas as pd
import pytest
from rich.console import Console

from harness.errors import InvalidInput
from harness.experiment import matrix, spec
from harness.planning import experience, lanes, plan_text
from harness.planning.forecast import Interval
from harness.planning.lanes import LaneForecast
from harness.planning.plan import Plan
from tests.harness.test_plan import TEXT, Case

NOW = dt.datetime(2026, 11, 27, 22, 0, tzinfo=dt.UTC)
LANES = (
    LaneForecast("now", Interval(9.0, 10.0, 11.0), Interval(600, 900, 1200), 9),
    LaneForecast("flex", Interval(4.5, 5.0, 5.5), Interval(1200, 1800, 3600), 9),
    LaneForecast("batch", Interval(4.4, 4.9, 5.4), Interval(9e3, 30e3, 90e3), 9),
)


@pytest.fixture(scope="module")
def plan(tmp_path_factory: pytest.TempPathFactory) -> Plan:
    return Case(tmp_path_factory.mktemp("lanes"), TEXT).plan()


def test_each_lane_costs_its_share_and_deferred_ones_take_a_wait_per_stage(plan: Plan) -> None:
    by_lane = {lane.lane: lane for lane in plan.lanes}
    assert list(by_lane) == ["now", "flex", "background_2h", "background_8h", "batch"]
    now = by_lane["now"]
    assert now.api_cost.mid is not None
    for name, share in (("flex", 0.5), ("background_2h", 0.7), ("background_8h", 0.6), ("batch", 0.5)):
        assert by_lane[name].api_cost.mid == pytest.approx(share * now.api_cost.mid, rel=1e-6)
    assert {lane.stages for lane in plan.lanes} == {9}
    assert (by_lane["batch"].time.mid or 0) > 9 * 600 > (now.time.mid or 0)
    assert (by_lane["background_2h"].time.high or 0) <= 9 * 2 * 3600


def test_the_plan_shows_the_lanes_and_says_what_the_provider_keeps(plan: Plan) -> None:
    console = Console(file=io.StringIO(), width=120)
    plan_text.show(plan, console, within_s=3600.0)
    said = " ".join(console.file.getvalue().split())  # type: ignore[attr-defined]
    assert "all hosted models in one lane" in said
    assert "OpenAI keeps each answer until it is recorded here, for 30 days at most" in said
    assert "flex is the cheapest lane that ends within 1.0 h in nine of ten cases" in said


def test_a_run_in_a_deferred_lane_is_forecast_to_take_that_long(tmp_path: Path) -> None:
    text = TEXT.replace("model: gpt-5}", "model: gpt-5, lane: batch}")
    made = Case(tmp_path, text).plan()
    assert (made.arms["big"].time.mid or 0) > 9 * 600 > (made.arms["mini"].time.mid or 0)


def test_the_cheapest_lane_that_ends_in_time_is_taken() -> None:
    assert [lanes.cheapest(LANES, hours * 3600) for hours in (0.1, 0.5, 2, 30)] == [None, LANES[0], LANES[1], LANES[2]]


def test_where_no_lane_ends_in_time_the_plan_says_whether_another_lane_could_help() -> None:
    def said(local_h: float) -> str:
        local_s = 3600 * local_h
        return lanes.advice(LANES, 600.0, plan_text.usd, Interval(local_s / 2, local_s, 2 * local_s))

    assert "the fastest, now, needs up to 0.3 h: take fewer cells, or more time" in said(0.0)
    assert "self-hosted models alone need up to 4.0 h, whatever the lane: take fewer cells, or more time" in said(2.0)


def test_the_plan_names_the_time_of_self_hosted_models_of_the_same_run(plan: Plan) -> None:
    console = Console(file=io.StringIO(), width=200)
    plan_text.show(plan, console)
    said = " ".join(console.file.getvalue().split())  # type: ignore[attr-defined]
    assert (plan.local_time.mid or 0) > 0
    assert (
        f"those of self-hosted models in the same run included, which alone compute for {plan_text.seconds(plan.local_time)}"
        in said
    )
    assert all((lane.time.high or 0) >= (plan.local_time.high or 0) for lane in plan.lanes), "no lane ends before them"


def test_by_is_the_next_such_time_and_must_lie_ahead() -> None:
    assert lanes.seconds_left("08:00", None, NOW) == 10 * 3600
    assert lanes.seconds_left("23:30", None, NOW) == 1.5 * 3600
    assert lanes.seconds_left("2026-11-28T22:00", None, NOW) == 24 * 3600
    assert lanes.seconds_left(None, "12h", NOW) == 12 * 3600
    assert lanes.seconds_left(None, None, NOW) is None


@pytest.mark.parametrize(
    ("by", "within", "problem"),
    [
        ("2026-11-27T21:00", None, "is in the past"),
        ("tonight", None, "cannot read 'tonight' as a time"),
        ("25:00", None, "cannot read '25:00' as a time"),
        (None, "soon", "soon"),
        ("08:00", "12h", "set the same limit"),
    ],
)
def test_times_that_cannot_be_are_refused(by: str | None, within: str | None, problem: str) -> None:
    with pytest.raises(InvalidInput, match=problem):
        lanes.seconds_left(by, within, NOW)


def test_times_of_deferred_answers_are_learnt_and_leave_those_of_now_alone() -> None:
    row = {"model": "m", "role": "trader", "arm": "a", "outcome": "answered", "kind": "primary", "is_whole": True}
    row |= {"provider": "openai", "model_requested": "m", "fingerprint": "f", "counted": 100.0, "has_tokenizer": False}
    row |= {"input_tokens": 100, "cached_tokens": 0, "cache_write_tokens": 0, "output_tokens": 10}
    row |= {"load_s": None, "prefill_s": None, "decode_s": None}
    later = [row | {"lane": "batch", "duration_s": 7200.0, "cell_id": str(number)} for number in range(30)]
    at_once = [row | {"lane": "now", "duration_s": 2.0, "cell_id": str(number)} for number in range(30, 60)]
    learnt = experience.of_calls(pd.DataFrame([*later, *at_once]), 1)
    count, median_s, _ = learnt.lanes["batch"]
    assert (count, median_s) == (30, 7200.0)
    assert learnt.roles["m", "trader"].duration_s == 2.0


def test_a_hybrid_moves_only_its_hosted_calls(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(TEXT)
    experiment = spec.load(tmp_path / "x.yaml", spec.of_lane("batch"))
    hybrid = next(cell for cell in matrix.expand(experiment) if cell.arm == "hybrid")
    assert {(model.alias, model.lane.name) for model in hybrid.lineup.values()} == {("big", "batch"), ("tiny", "now")}
