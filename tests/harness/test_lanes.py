"""Lanes: what may be asked for, what it costs, and what it is not part of."""

from __future__ import annotations

import datetime as dt
from collections.abc import Sequence
from pathlib import Path

import pytest
import yaml

from agents import Answer, Call, CallSite, Model, Part, Request, Timing, Usage, WorstCase
from domain.lanes import LANES, lane_served
from harness.checking import models_check
from harness.checking.resolved import read
from harness.errors import InvalidInput, Problem
from harness.experiment import matrix, spec
from harness.experiment.lineups import ModelPart
from harness.experiment.servers import ServerSpec
from harness.money import pricing
from harness.runs import answered_later

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


def late_answers(folder: Path, text: str) -> str:
    (folder / "x.yaml").write_text(text)
    with pytest.raises(InvalidInput) as caught:
        matrix.expand(spec.load(folder / "x.yaml"))
    return str(caught.value)


def test_tools_and_programs_cannot_wait_hours_for_an_answer_and_other_arms_can(tmp_path: Path) -> None:
    hosted = TEXT.replace(
        "  tiny: {provider: llamacpp, model: smollm2-135m}\n", "  quick: {provider: openai, model: gpt-5-mini}\n"
    )
    tools = late_answers(tmp_path, hosted + "pipeline: {inputs: tools}\n")
    assert "pipeline.inputs: with tools each answer decides the next request, and answers of big (batch) come hours" in tools
    assert "use inputs: prefetch, or lane: now or flex for its models" in tools
    program = late_answers(tmp_path, hosted + "pipeline: {folder: program, command: python decide.py}\n")
    assert "pipeline.command: a program waits for each answer, and answers of big (batch) come hours later" in program
    arms = "arms: {pipeline: {all: big}, program: {all: ALIAS, pipeline: {folder: program, command: python decide.py}}}\n"
    assert "arms.program.pipeline.command: a program waits" in late_answers(tmp_path, hosted + arms.replace("ALIAS", "big"))
    (tmp_path / "x.yaml").write_text(hosted + arms.replace("ALIAS", "quick"))
    assert {cell.arm for cell in matrix.expand(spec.load(tmp_path / "x.yaml"))} == {"pipeline", "program"}


def test_service_tier_is_refused_with_its_new_spelling_and_read_in_old_runs(tmp_path: Path) -> None:
    said = problems(tmp_path, TEXT.replace("lane: batch", "service_tier: priority"))
    assert "service_tier is now called lane" in said
    assert "write lane: fast" in said
    deferred = problems(tmp_path, TEXT.replace("lane: batch", "service_tier: batch"))
    assert "write lane: batch" in deferred
    old = ModelPart.model_validate({"provider": "openai", "model": "gpt-5", "service_tier": "flex"})
    assert old.lane == "flex"


def hosted_lane(folder: Path, lane: str, **server: object) -> Sequence[Problem]:
    """What is wrong with a model in this lane at this server."""
    text = TEXT.replace("lane: batch", f"lane: {lane}, server: cloud")
    (folder / "x.yaml").write_text(text)
    cloud = {"provider": "openai", "url": "http://gateway.example/v1", "hosted": True} | server
    (folder / "servers.yaml").write_text(yaml.safe_dump({"cloud": cloud}))
    return read(spec.load(folder / "x.yaml"), folder).server_problems


def test_a_lane_that_the_server_of_a_model_does_not_offer_is_refused_before_anything_is_sent(tmp_path: Path) -> None:
    (chat,) = hosted_lane(tmp_path, "background_8h", api="chat")
    assert str(chat) == (
        "models.big.lane: background_8h needs the Responses API, and server 'cloud' is asked by Chat Completions\n"
        "    fix: use lane: now, fast, flex, batch; or api: responses for cloud if it speaks that"
    )
    assert not hosted_lane(tmp_path, "background_8h", api="responses")
    assert not hosted_lane(tmp_path, "batch", api="chat")
    (own,) = hosted_lane(tmp_path, "batch", hosted=False)
    assert "batch is a lane of hosted models, and server 'cloud' is self-hosted" in str(own)
    assert "use lane: now, or hosted: true for cloud if it bills by token" in str(own)
    assert not hosted_lane(tmp_path, "flex", hosted=False)


def test_a_model_without_a_price_in_its_lane_is_named_with_the_lanes_that_have_one(tmp_path: Path) -> None:
    prices = {"version": "test", "prices": [{"model": "acme", "input": 1.0, "output": 10.0}]}
    (tmp_path / "prices.yaml").write_text(yaml.safe_dump(prices))
    (tmp_path / "x.yaml").write_text(TEXT.replace("gpt-6.1-sol", "acme") + "prices: prices.yaml\n")
    resolved = read(spec.load(tmp_path / "x.yaml"), tmp_path)
    assert not resolved.server_problems
    models = [model for model in models_check.known_models(resolved, {}) if model.model.alias == "big"]
    (price,) = [check for check in models_check.checks(models, resolved, WHEN) if check.name == "price of big"]
    assert price.status == "fail"
    assert price.found.startswith("no price known for acme in lane batch at ")
    assert price.fix == (
        "use a lane that has one (now, background_2h, background_8h), or add it to a price file (prices: FILE) as tier: batch"
    )


def test_what_waits_is_named_in_words_that_fit_its_number() -> None:
    def said(**deferred: object) -> list[str]:
        return answered_later.lines(deferred)

    assert said(collecting=1) == ["1 call waits until the other cells have reached their next call"]
    assert said(collecting=2000) == ["2,000 calls wait until the other cells have reached their next call"]
    assert said(backing_off=1) == ["1 call waits for the next try"]
    assert said(backing_off=3) == ["3 calls wait for the next try"]
    assert said(cells=1, oldest_s=61.0, next_poll_s=4.0) == ["1 cell waits; oldest request 1m 01s old, next look in 4s"]
