"""Pipelines may be suspended at any call; assert_deterministic accepts ours and finds what breaks the promise."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any

import pytest

import agents
from agents import DECISION, Contest, Contestant, Context, Halt, Hidden, Part, Pipeline, Reading, Recorded, Result, Suspended
from agents.testing import assert_deterministic
from tests.agents.cell import run
from tests.fakes.scripted import OpenAdmission

ORDER = DECISION.say()


@pytest.mark.parametrize(
    "pipeline",
    [
        Pipeline(),
        Pipeline(depth="medium", analysts=("market", "news")),
        Pipeline(inputs="tools"),
        Pipeline(depth="single_call"),
        Pipeline(entry="experiments.own_pipeline:decide"),
    ],
    ids=["shallow", "medium", "tools", "single call", "own"],
)
def test_our_pipelines_can_be_suspended_at_every_call(pipeline: Pipeline) -> None:
    assert_deterministic(agents.decide, pipeline=pipeline)


def test_a_replay_can_be_suspended_at_every_call() -> None:
    recorded = [
        Recorded(role, number, (Part("user", f"The prompt of {role}."),))
        for role, number in (("market_analyst", 0), ("bull", 1), ("portfolio_manager", 0))
    ]
    assert_deterministic(lambda ctx: agents.replay(recorded, ctx))


def test_a_judge_can_be_suspended_at_every_call() -> None:
    contests = [
        Contest(role, 0, (Part("user", "The case."),), Contestant("Up."), Contestant("Down.")) for role in ("trader", "bull")
    ]
    assert_deterministic(lambda ctx: agents.judge(contests, Hidden(), ctx))


def test_a_request_that_depends_on_chance_is_found() -> None:
    count = itertools.count()

    async def decide(ctx: Context) -> Reading:
        return await ctx.ask("trader", f"Draw {next(count)}.\n{ORDER}", form=DECISION)

    with pytest.raises(AssertionError, match=r"(?s)trader/0/primary/0 differs.*-Draw 0\.\n\+Draw 1\."):
        assert_deterministic(decide)


def test_a_call_that_depends_on_what_happened_before_is_found() -> None:
    count = itertools.count()

    async def decide(ctx: Context) -> Reading:
        await ctx.ask(("bull", "bear", "bear")[min(next(count), 2)], "Speak.")
        return await ctx.ask("trader", ORDER, form=DECISION)

    with pytest.raises(AssertionError, match="made the call bear/0/primary/0"):
        assert_deterministic(decide)


def test_a_prompt_in_the_order_in_which_answers_arrived_is_found() -> None:
    async def decide(ctx: Context) -> Reading:
        arrived: list[str] = []

        async def speak(role: str) -> None:
            arrived.append((await ctx.ask(role, "Speak.")).text)

        outcomes = await asyncio.gather(*map(speak, ("bull", "bear")), return_exceptions=True)
        if any(isinstance(outcome, Suspended) for outcome in outcomes):
            _ARRIVED_FIRST.extend(arrived)
            raise next(outcome for outcome in outcomes if isinstance(outcome, Suspended))
        seen = dict.fromkeys([*_ARRIVED_FIRST, *arrived])
        return await ctx.ask("trader", ["\n".join(seen), ORDER], form=DECISION)

    _ARRIVED_FIRST: list[str] = []
    with pytest.raises(AssertionError, match="the request at trader/0/primary/0 differs"):
        assert_deterministic(decide)


def test_a_pipeline_that_catches_suspended_is_found() -> None:
    async def decide(ctx: Context) -> Result:
        try:
            await ctx.ask("bull", "Speak.")
        except Exception:  # noqa: BLE001 - the mistake
            return Result(None, "missing")
        return Result(None, "missing")

    with pytest.raises(AssertionError, match=r"caught Suspended at bull/0/primary/0"):
        assert_deterministic(decide)


def test_a_pipeline_that_fails_or_asks_nothing_is_found() -> None:
    async def silent(ctx: Context) -> Result:
        return Result(None, "missing")

    with pytest.raises(AssertionError, match="asked no model"):
        assert_deterministic(silent)
    with pytest.raises(AssertionError, match="the pipeline failed: PipelineError: unknown depth"):
        assert_deterministic(agents.decide, pipeline=Pipeline(depth="bottomless"))


@pytest.mark.parametrize("error", [Halt("the run stops"), Suspended("later")])
def test_a_halt_that_an_own_pipeline_catches_still_ends_its_cell(error: Halt, tmp_path: Any, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "deaf.py").write_text(
        "from agents import Decision\n"
        "async def go(ctx):\n"
        "    try:\n        await ctx.ask('trader', 'Speak.')\n"
        "    except Exception:\n        return Decision('Hold')\n"
    )
    with pytest.raises(type(error), match=str(error)):
        run(Pipeline(entry="deaf:go"), admission=OpenAdmission(halt_at=lambda site: error))
