"""Which roles may go to another model: in a simulated pipeline in which one role matters, that role is named."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import Literal

import pytest
import yaml

from harness.experiment import spec
from harness.experiment.lineups import Arm, Swap, expand_swaps
from reports.load import load
from reports.roles import hybrid, swaps
from tests.reports.replayed import add_replay, give_forms
from tests.reports.synthetic import FakeArm, make_run, sessions

MATTERS = "research_manager"
SAVING = 0.015
Kind = Literal["one_at_a_time", "fractional"]


def simulated(folder: Path, kind: Kind) -> Path:
    """Arms of a swap design; the rating depends on who plays one role only, and every swapped role saves money."""
    lineups = expand_swaps(Swap.model_validate({"from": "big", "to": "small", "design": kind}))
    arms, said = {}, {}
    for name, arm in lineups.items():
        is_hit = MATTERS in arm.roles
        cost = 0.24 - SAVING * len(arm.roles)
        arms[name] = FakeArm(cost_usd=cost, noise=0.6 if is_hit else 0.0, lean=1.3 if is_hit else 0.0)
        said[name] = {"all": arm.all, **arm.roles}
    experiment = {
        "arms": said,
        "models": {"big": {"provider": "openai", "model": "b"}, "small": {"provider": "ollama", "model": "s"}},
    }
    dates = sessions("2025-03-03", 10)
    return make_run(
        folder / kind, arms=arms, tickers=("AAPL", "MSFT"), dates=dates, experiment=experiment, texts=False, repeats=2
    )


@pytest.fixture(scope="module", params=["one_at_a_time", "fractional"])
def run(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return simulated(tmp_path_factory.mktemp("swaps"), request.param)


def test_the_one_role_that_matters_is_named(run: Path) -> None:
    design = swaps.swap_design(load(run))

    assert design is not None
    assert design.kind == run.name
    effects = {effect.role: effect.by_metric["same_rating"] for effect in design.effects}
    assert len(effects) == 12
    assert effects[MATTERS].high < -0.2
    assert min(effects, key=lambda role: effects[role].value) == MATTERS
    assert all(abs(one.value) < 0.05 for role, one in effects.items() if role != MATTERS)


def test_what_a_role_saves_is_estimated(run: Path) -> None:
    design = swaps.swap_design(load(run))

    assert design is not None
    costs = [effect.by_metric["cost"] for effect in design.effects]
    assert sum(one.value for one in costs) / 12 == pytest.approx(-SAVING, rel=0.5)
    assert sum(one.low <= -SAVING <= one.high for one in costs) >= 9


def test_the_recommended_lineup_moves_all_roles_but_that_one(run: Path) -> None:
    (made,) = hybrid.hybrids(load(run), [])

    kept = [one.role for one in made.advices if one.verdict == "keep"]
    assert kept == [MATTERS]
    lineup = yaml.safe_load(made.yaml)["recommended"]
    assert lineup["all"] == "big"
    assert MATTERS not in lineup
    assert set(lineup.values()) == {"big", "small"}
    assert made.cost.value < made.cost_now.value
    assert "swap design" in made.support


def test_the_recommended_lineup_can_be_pasted_into_the_experiment(run: Path, tmp_path: Path) -> None:
    (made,) = hybrid.hybrids(load(run), [])
    head = "name: next\ntickers: [AAPL]\ndates: [2025-03-03]\nmodels:\n"
    models = "  big: {provider: openai, model: gpt-5}\n  small: {provider: ollama, model: small}\n"
    file = tmp_path / "next.yaml"
    file.write_text(f"{head}{models}arms:\n{textwrap.indent(made.yaml, '  ')}\n")

    arm = spec.load(file).arms["recommended"]

    assert isinstance(arm, Arm)
    assert (arm.all, set(arm.roles.values())) == ("big", {"small"})
    assert set(arm.roles) == set(made.moved)


def test_losses_that_are_small_alone_never_add_up_beyond_the_margin(tmp_path: Path) -> None:
    lineups = expand_swaps(Swap.model_validate({"from": "big", "to": "small", "design": "one_at_a_time"}))
    arms = {name: FakeArm(noise=0.3 if arm.roles else 0.0) for name, arm in lineups.items()}
    experiment = {
        "arms": {name: {"all": arm.all, **arm.roles} for name, arm in lineups.items()},
        "compare": {"endpoints": {"same_rating": {"margin": 0.4}}},
    }
    dates = sessions("2025-03-03", 10)
    run = make_run(
        tmp_path / "r", arms=arms, tickers=("AAPL", "MSFT"), dates=dates, experiment=experiment, texts=False, repeats=2
    )

    (made,) = hybrid.hybrids(load(run), [])

    assert made.margin == 0.4
    assert 0 < len(made.moved) < 12
    assert made.same_rating.low >= -made.margin
    assert any("with those that move" in one.because for one in made.advices)


def test_without_enough_dates_nothing_is_recommended(tmp_path: Path) -> None:
    experiment = {"arms": {"none": {"all": "big"}, "a": {"all": "big", "bull": "small"}, "b": {"all": "big", "bear": "small"}}}
    arms = {name: FakeArm(noise=0.8) for name in experiment["arms"]}
    dates = sessions("2025-03-03", 2)
    run = make_run(tmp_path / "r", arms=arms, tickers=("AAPL",), dates=dates, experiment=experiment, texts=False, repeats=2)

    (made,) = hybrid.hybrids(load(run), [])

    assert made.moved == ()
    assert "nothing is shown" in made.yaml


def test_arms_that_are_no_swap_have_no_design(tmp_path: Path) -> None:
    assert swaps.swap_design(load(make_run(tmp_path / "r", tickers=("AAPL",), texts=False))) is None


def test_a_replay_alone_recommends_roles_too(tmp_path: Path) -> None:
    from reports.roles.replays import replays

    arms = {"big": FakeArm(), "small": FakeArm("tiny", "llamacpp", 0.01)}
    run = make_run(tmp_path / "r", arms=arms, tickers=("AAPL",), text="The close of 118.38 fell.")
    give_forms(run, lambda call: "Buy")
    cheap = {"cost_usd": 0.0001}
    wrong = '{"rating": "Sell", "confidence": 1}'
    add_replay(run, "big", "small", lambda call: cheap | ({"parsed": wrong} if call["role"] == "portfolio_manager" else {}))
    loaded = load(run)

    (made,) = hybrid.hybrids(loaded, replays(loaded))

    advice = {one.role: one for one in made.advices}
    assert advice["bull"].verdict == "move"
    # Without the source's own second answers nobody knows how often its stance changes by chance.
    assert advice["portfolio_manager"].verdict == "unmeasured"
    assert "--noise-floor" in advice["portfolio_manager"].because
    add_replay(run, "big", "big", lambda call: {})
    (made,) = hybrid.hybrids(load(run), replays(load(run)))
    assert {one.role: one.verdict for one in made.advices}["portfolio_manager"] == "keep"
    assert 0 < made.cost.value < made.cost_now.value
