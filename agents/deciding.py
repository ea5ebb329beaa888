"""Decide one case: the face's `decide`, whichever way the pipeline argues."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from agents import flow
from agents.contract.gate import Gate
from agents.contract.lineup import Lineup
from agents.contract.pipeline import Pipeline
from agents.contract.result import Decision, Result, ToolSkill
from agents.decisions import decision
from agents.errors import Halt
from agents.roles import DECIDING

if TYPE_CHECKING:
    from agents.inputs.snapshot import Snapshot
    from agents.llms import Clients
    from agents.statement import Statement


async def decide(snapshot: Snapshot, lineup: Lineup, pipeline: Pipeline, gate: Gate, clients: Clients) -> Result:
    """The case's decision and everything said on the way; raises only Halt, other trouble is Result.error."""
    try:
        if pipeline.rule:
            from agents import rules

            return rules.decide(pipeline.rule, snapshot)
        if pipeline.entry:
            from agents import own

            return await own.decide(snapshot, lineup, pipeline, gate, clients)
        return await _argue(snapshot, lineup, pipeline, gate, clients)
    except Halt:
        raise
    except Exception as problem:  # noqa: BLE001 - one place turns a cell's trouble into its result
        return Result(None, "missing", error=problem)


async def _argue(snapshot: Snapshot, lineup: Lineup, pipeline: Pipeline, gate: Gate, clients: Clients) -> Result:
    from agents import graph
    from agents.turn import Hearing

    flow.steps(pipeline)
    said, error = await graph.run(Hearing(snapshot, lineup, pipeline, gate, clients))
    return result(said, error)


def result(said: Sequence[Statement], error: Exception | None) -> Result:
    """The statements of a cell as its result; without a last statement the decision is missing."""
    final = next((one for one in said if one.seat.role.output == "decision"), None)
    return Result(
        decision=_decision(final),
        decision_status=final.status if final else "missing",
        reports={one.seat.key: one.text for one in said},
        stage_ratings={one.seat.role.name: _rating(one) for one in said if one.seat.role.name in DECIDING},
        parsed={key: text for one in said for key, text in one.parsed.items()},
        tool_skill=_total([one.skill for one in said]),
        error=error,
    )


def _decision(final: Statement | None) -> Decision | None:
    return decision.decision(final.value, final.text) if final and final.value else None


def _rating(statement: Statement) -> str | None:
    value = statement.value or {}
    return value.get("rating") or value.get("action")


def _total(skills: Sequence[ToolSkill]) -> ToolSkill:
    return ToolSkill(
        calls=sum(skill.calls for skill in skills),
        valid=sum(skill.valid for skill in skills),
        unknown_tool=sum(skill.unknown_tool for skill in skills),
        bad_arguments=sum(skill.bad_arguments for skill in skills),
        capped_rounds=sum(skill.capped_rounds for skill in skills),
    )
