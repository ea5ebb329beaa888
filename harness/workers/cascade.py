"""One cell of a cascade: the first lineup decides, and the second one decides again where the first is unsure.

Both parts are calls of one cell, so that journal, budget and receipt treat them as any others. Their call sites differ by an
offset of the index.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from redis import RedisError

import agents
from agents import (
    Answer,
    Call,
    CallSite,
    Clients,
    ComposedRequest,
    Context,
    Failure,
    Model,
    Permit,
    Request,
    Result,
    Snapshot,
    ToolSkill,
    WorstCase,
)
from harness.cells import THEN_INDEX, Cell
from harness.workers.service_clock import ClockedAdmission

REPEAT_INDEX = 100
"""Offset of the index from one repeat of the first lineup to the next."""


class PartAdmission:
    """The admission of a cell for one of its parts."""

    def __init__(self, gate: ClockedAdmission, offset: int) -> None:
        self._gate, self._offset = gate, offset

    async def recall(self, site: CallSite, request: Request) -> Answer | None:
        return await self._gate.recall(self._moved(site), request)

    async def admit(self, site: CallSite, request: Request, worst_case: WorstCase) -> Permit:
        return await self._gate.admit(self._moved(site), request, worst_case)

    async def defer(self, site: CallSite, request: Request, worst_case: WorstCase, composed: ComposedRequest) -> Failure:
        return await self._gate.defer(self._moved(site), request, worst_case, composed)

    async def record(self, call: Call) -> float | None:
        return await self._gate.record(replace(call, site=self._moved(call.site)))

    async def discard(self, site: CallSite, permit: Permit) -> None:
        await self._gate.discard(self._moved(site), permit)

    def _moved(self, site: CallSite) -> CallSite:
        return replace(site, index=site.index + self._offset)


async def decide(cell: Cell, snapshot: Snapshot, gate: ClockedAdmission, clients: Clients) -> Result:
    """Run the parts that the rule asks for; the decision is that of the last one. Raises Halt."""
    rule: Mapping[str, Any] = cell.extra["cascade"]
    first, then = cell.lineups
    repeats: list[Result] = []
    for number in range(int(rule.get("repeats_disagree", 1))):
        part = PartAdmission(gate, number * REPEAT_INDEX)
        repeats.append(await agents.decide(Context(_seeded(first, number), cell.pipeline, part, clients, snapshot)))
        if isinstance(repeats[-1].error, RedisError):
            return repeats[-1]
        if asks_second(rule, repeats):
            second = await agents.decide(Context(then, cell.pipeline, PartAdmission(gate, THEN_INDEX), clients, snapshot))
            return _joined(repeats, second)
    return _joined(repeats[1:], repeats[0], REPEAT_INDEX)


def asks_second(rule: Mapping[str, Any], repeats: Sequence[Result]) -> bool:
    """Whether the answers so far ask for the second lineup; one that is not usable always does."""
    decisions = [result.decision for result in repeats]
    if any(decision is None or result.error for decision, result in zip(decisions, repeats, strict=True)):
        return True
    confidences = [decision.confidence for decision in decisions if decision]
    if "confidence_below" in rule:
        return any(confidence is None or confidence < rule["confidence_below"] for confidence in confidences)
    return len({decision.rating for decision in decisions if decision}) > 1


def _seeded(lineup: Mapping[str, Model], number: int) -> dict[str, Model]:
    """Each repeat inside a cell samples with a seed of its own."""
    return {role: _with_seed(model, number) for role, model in lineup.items()}


def _with_seed(model: Model, number: int) -> Model:
    seed = model.params.get("seed")
    if seed is None or not number:
        return model
    return replace(model, params={**model.params, "seed": int(seed) + 1_000_000 * number})


def _joined(others: Sequence[Result], final: Result, first_offset: int = 0) -> Result:
    """The final result with the parsed forms and the tool skill of all parts, under the call sites of the cell."""
    is_second = first_offset == 0
    parsed = _moved(final.parsed, THEN_INDEX if is_second else 0)
    for number, result in enumerate(others):
        parsed |= _moved(result.parsed, first_offset + number * REPEAT_INDEX)
    skill = sum((result.tool_skill for result in others), final.tool_skill)
    assert isinstance(skill, ToolSkill)
    return replace(final, parsed=parsed, tool_skill=skill)


def _moved(parsed: Mapping[str, str], offset: int) -> dict[str, str]:
    """Forms by call site key, with the index moved."""
    pairs = ((key.rpartition("/"), text) for key, text in parsed.items())
    return {f"{place}/{int(index) + offset}": text for (place, _, index), text in pairs}
