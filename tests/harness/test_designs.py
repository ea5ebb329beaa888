"""`plan --budget` and `--margin`: designs that settle what they promise, within the money, as YAML that loads."""

from __future__ import annotations

import datetime as dt
import json
from pathlib import Path

import pytest
import yaml

from harness.errors import InvalidInput
from harness.experiment import spec
from harness.planning import answers, designs
from reports import design, load
from reports.verdict import MARGINS, POWER
from tests.harness.test_plan import TEXT, Case
from tests.reports.synthetic import FakeArm, make_tables, sessions

PAID = (
    TEXT.replace("hybrid: {deep: big, quick: tiny}, ", "")
    .replace("tickers: [AAPL, MSFT]", "tickers: [AAPL, MSFT, JPM, XOM]")
    .replace("usable: {margin: 2pp}", "usable: {margin: 10pp}")
)


@pytest.fixture
def paid(tmp_path: Path) -> Case:
    return Case(tmp_path, PAID)


def designed(paid: Case, budget: float | None = None, **wanted: float) -> designs.Designs:
    return designs.find(paid.experiment, paid.plan(), budget, wanted)


def test_the_cheapest_design_of_a_margin_settles_it_with_80_percent_power(paid: Case) -> None:
    offer = designed(paid, same_rating=0.10).chosen
    assert offer is not None
    planned = design.Design(offer.dates, 3, offer.baseline_repeats, offer.arm_repeats)
    assert design.good_enough_power(MARGINS, planned) == pytest.approx(offer.power)
    assert offer.power >= POWER
    fewer = design.Design(offer.dates - 1, 3, offer.baseline_repeats, offer.arm_repeats)
    assert design.good_enough_power(MARGINS, fewer) < POWER


def test_a_budget_buys_the_smallest_margin_that_it_pays_for(paid: Case) -> None:
    rich = designed(paid, 10_000.0)
    assert [offer.margins["same_rating"] for offer in rich.offers] == [0.05, 0.10, 0.15]
    assert rich.chosen is rich.offers[0]
    assert rich.offers[0].usd > rich.offers[1].usd > rich.offers[2].usd
    middle = designed(paid, rich.offers[1].usd)
    assert middle.chosen is not None
    assert middle.chosen.margins["same_rating"] == 0.10


def test_too_little_money_settles_nothing_and_says_so(paid: Case) -> None:
    poor = designed(paid, 0.01)
    assert poor.chosen is None
    assert not poor.yaml
    assert any(line.startswith("Nothing is settled. $0.01") for line in designs.lines(poor))


def test_the_yaml_of_a_design_loads_and_its_plan_says_settled(paid: Case) -> None:
    made = designed(paid, same_rating=0.15, usable=0.10)
    assert made.chosen is not None
    pasted = yaml.safe_load(PAID) | yaml.safe_load(made.yaml)
    again = Case(paid.folder, yaml.safe_dump(pasted))
    settled = again.plan().answers
    assert settled is not None
    assert settled.is_settled
    assert (settled.dates, len(again.experiment.tickers)) == (made.chosen.dates, 3)
    assert made.left_out == ("XOM",)


def test_dates_are_spread_over_the_period_that_the_experiment_has(paid: Case) -> None:
    text = designs.dates_yaml(paid.experiment, 28, dt.datetime(2026, 11, 23, tzinfo=dt.UTC))
    rule = spec.Experiment.model_validate(yaml.safe_load(PAID) | {"dates": yaml.safe_load(text)}).dates
    assert rule.from_ == dt.date(2011, 3, 15)
    assert rule.to is not None
    assert rule.to <= dt.date(2011, 9, 15)
    assert text.endswith("# 28 dates")


@pytest.mark.parametrize("text", ["returns=5pp", "same_rating", "same_rating=lots", "same_rating=0", "same_rating=90%"])
def test_a_margin_that_cannot_be_is_refused_with_an_example(text: str) -> None:
    with pytest.raises(InvalidInput, match="--margin same_rating=10pp"):
        designs.read_margins([text])


def test_an_experiment_of_one_arm_is_refused(tmp_path: Path) -> None:
    alone = Case(tmp_path, TEXT.replace("mini: {all: mini}, hybrid: {deep: big, quick: tiny}, ", ""))
    with pytest.raises(InvalidInput, match="nothing to be compared with"):
        designed(alone, 40.0)


def test_what_an_earlier_run_measured_replaces_the_assumed_spread(tmp_path: Path) -> None:
    arms = {"a": FakeArm(noise=0.05), "b": FakeArm(noise=0.05)}
    steady = load(make_tables(tmp_path / "steady", arms=arms, repeats=3, dates=sessions("2024-03-04", 20)))
    known = answers.measured(steady)
    assert known.same_rating < 0.5
    assert "measured in run steady" in known.same_rating_source
    standard = design.Design(28, 3, 3, 3)
    assert design.power("same_rating", 0.05, standard, known) > design.power("same_rating", 0.05, standard)
    short = load(make_tables(tmp_path / "short", arms=arms, repeats=3, dates=sessions("2024-03-04", 4)))
    assert answers.measured(short) == design.Assumptions()


def test_designs_are_one_json_object(paid: Case) -> None:
    made = json.loads(json.dumps(designed(paid, 100.0).to_plain()))
    assert {"budget_usd", "offers", "chosen", "yaml"} <= set(made)
