"""Lanes: what may be asked for, what it costs, and what it is not part of."""

from __future__ import annotations

import datetime as dt
from pathlib import Path

import pytest

from agents import Answer, Call, CallSite, Model, Part, Request, Timing, Usage, WorstCase
from domain.lanes import LANES, lane_served
from harness.errors import InvalidInput
from harness.experiment import matrix, spec
from harness.experiment.lineups import ModelPart
from harness.experiment.servers import ServerSpec
from harness.money import pricing

TEXT = """
name: lanes
tickers: [AAPL]
dates: [2012-06-15]
repeats: 1
data: demo
models:
  big: {provider: openai, model: gpt-6.1-sol, lane: batch}
  tiny: {provider: llamacpp, model: smollm2-135m}
"""
OPENAI = ServerSpec("openai", "openai", is_hosted=True)
WHEN = dt.datetime(2026, 11, 27, tzinfo=dt.UTC)
USAGE = Usage(10_000, 2_000, 0, 1_000, 0)
AS_NOW_USD = (8_000 * 2 + 2_000 * 0.10 + 1_000 * 10) / 1e6


def problems(folder: Path, text: str, **overrides: str) -> str:
    path = folder / "x.yaml"
    path.write_text(text)
    with pytest.raises(InvalidInput) as caught:
        spec.load(path, overrides)
    return str(caught.value)


def call(lane: str, tier: str | None = "default") -> Call:
    model = Model("big", "openai", "gpt-6.1-sol", {"lane": lane, "max_output_tokens": 100}, "openai")
    timing = Timing(WHEN.timestamp(), None, 1.0)
    answer = Answer("Hold.", usage=USAGE, timing=timing, model_returned="gpt-6.1-sol", service_tier=tier)
    return Call("1", CallSite("trader"), Request(model, (Part("user", "?"),)), timing, answer)


@pytest.mark.parametrize(("lane", "share"), [(name, lane.share) for name, lane in LANES.items()])
def test_each_lane_costs_its_share_of_now(lane: str, share: float) -> None:
    tier = LANES[lane].service_tier or "default"
    cost_usd = pricing.price(call(lane, tier), OPENAI, pricing.PriceTable()).cost_usd
    assert cost_usd == pytest.approx(share * AS_NOW_USD)


def test_a_flex_request_that_was_answered_at_the_standard_tier_is_billed_and_recorded_as_now() -> None:
    served = call("flex", "default")
    assert pricing.price(served, OPENAI, pricing.PriceTable()).cost_usd == pytest.approx(AS_NOW_USD)
    assert lane_served(LANES["flex"], "default") == "now"
    assert lane_served(LANES["batch"], "default") == "batch"


def test_the_reservation_of_a_deferred_call_is_at_the_price_of_its_lane() -> None:
    worst = WorstCase(100_000, 0)
    costs = {lane: pricing.worst_case_usd(call(lane).request, worst, OPENAI, pricing.PriceTable()) for lane in LANES}
    assert costs["batch"] == pytest.approx(0.125)
    assert costs["background_8h"] == pytest.approx(0.25 * 0.6)
    assert costs["flex"] == costs["now"] == pytest.approx(0.25), "flex may be answered at the standard tier"


def test_the_lane_is_part_of_no_identity(tmp_path: Path) -> None:
    keys = set()
    for lane in LANES:
        (tmp_path / "x.yaml").write_text(TEXT.replace("batch", lane))
        keys.add(tuple(cell.cell_key for cell in matrix.expand(spec.load(tmp_path / "x.yaml"))))
    assert len(keys) == 1


def test_lane_for_a_run_sets_it_for_every_model_that_offers_it(tmp_path: Path) -> None:
    (tmp_path / "x.yaml").write_text(TEXT)
    models = spec.load(tmp_path / "x.yaml", spec.of_lane("flex")).models
    assert (models["big"].lane, models["tiny"].lane) == ("flex", None)


def test_lanes_that_cannot_be_are_refused_with_what_can(tmp_path: Path) -> None:
    assert "unknown lane 'cheap'; known: now, fast, flex" in problems(tmp_path, TEXT, lane="cheap")
    only_local = TEXT.replace("  big: {provider: openai, model: gpt-6.1-sol, lane: batch}\n", "")
    assert "no model of this experiment is at a provider that offers batch" in problems(tmp_path, only_local, lane="batch")
    assert "lane means nothing to llamacpp" in problems(tmp_path, TEXT.replace("135m}", "135m, lane: flex}"))
    assert "pipeline.inputs is tools, and answers of big (batch) come hours later" in problems(
        tmp_path, TEXT + "pipeline: {inputs: tools}\n"
    )


def test_service_tier_is_refused_with_its_new_spelling_and_read_in_old_runs(tmp_path: Path) -> None:
    said = problems(tmp_path, TEXT.replace("lane: batch", "service_tier: priority"))
    assert "service_tier is now called lane" in said
    assert "write lane: fast" in said
    old = ModelPart.model_validate({"provider": "openai", "model": "gpt-5", "service_tier": "flex"})
    assert old.lane == "flex"
