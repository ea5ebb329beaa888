"""Decide one case: the entry point for every kind of pipeline."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from agents.decisions.reading import decision
from agents.errors import Halt
from agents.pipeline import flow
from agents.types import Decision, Pipeline, Result, ToolSkill

if TYPE_CHECKING:
    from agents.pipeline.context import Context
    from agents.pipeline.flow import TurnResult


async def decide(ctx: Context) -> Result:
    """Run one case through its pipeline. Raises only Halt; any other error is `Result.error`."""
    try:
        result = await _run(ctx)
    except Halt:
        raise
    except Exception as problem:  # noqa: BLE001 - the one function that turns an error into a cell's result
        result = Result(None, "missing", reports=ctx.reports, parsed=ctx.parsed, error=problem)
    if ctx.halt:
        # The pipeline caught it and went on without an answer.
        raise ctx.halt
    return result


async def _run(ctx: Context) -> Result:
    if ctx.pipeline.rule:
        from agents.pipeline import rules

        return rules.decide(ctx.pipeline.rule, ctx.snapshot)
    if ctx.pipeline.entry:
        from agents.pipeline import custom

        return await custom.decide(ctx)
    from agents.pipeline import graph

    flow.steps(ctx.pipeline)
    return cell_result(*await graph.run(ctx))


def cell_result(results: Sequence[TurnResult], error: Exception | None) -> Result:
    """The result of a cell from its turns; the decision is missing if the last turn was not taken."""
    final = next((result for result in results if result.turn.role.output == "decision"), None)
    return Result(
        decision=_decision(final),
        decision_status=final.status if final else "missing",
        reports={result.turn.key: result.text for result in results},
        stage_ratings={result.turn.role.name: _rating(result) for result in results if result.turn.role.decides},
        parsed={key: text for result in results for key, text in result.parsed.items()},
        tool_skill=sum((result.skill for result in results), ToolSkill()),
        error=error,
    )


def _decision(final: TurnResult | None) -> Decision | None:
    return decision(final.value, final.text) if final and final.value else None


def _rating(result: TurnResult) -> str | None:
    value = result.value or {}
    return value.get("rating") or value.get("action")


def preload() -> None:
    """Import and build what the default pipeline needs before a process forks, so that its children share the memory.

    Nothing is connected or run. Raises PipelineError for an invalid role file.
    """
    from agents.llms import preload as preload_providers
    from agents.pipeline import custom, graph, prompts, rules, tools  # noqa: F401

    preload_providers()
    default = Pipeline()
    graph.compiled(default)
    for turn in flow.turns(default):
        prompts.instruction(turn, None)
