"""One cell of a cascade: the first lineup decides, and the second one decides again where the first is unsure.

Both parts are calls of one cell, so that journal, budget and receipt treat them as any others. Their call sites differ by an
offset of the index.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from redis import RedisError

import agents
from agents import (
    Answer,
    Call,
    CallSite,
    ComposedRequest,
    Failure,
    Model,
    Permit,
    Request,
    Result,
    ToolSkill,
    WorstCase,
)
from harness.cells import THEN_INDEX, Cell
from harness.storage.rows import Row
from harness.workers.service_clock import ClockedAdmission

REPEAT_INDEX = 100
"""Offset of the index from one repeat of the first lineup to the next."""
PROGRAM_REPEAT_INDEX = 1_000
"""The same for an attached program, a role of which may ask more often."""


_COUNTED = ("roles", "wires", "asked_models")
"""What is counted of an attached program, by name."""


class PartAdmission:
    """The admission of a cell for one of its parts."""

    def __init__(self, gate: ClockedAdmission, offset: int, step: int) -> None:
        self.offset = offset
        self.rating_probability: float | None = None
        """That of the last answer of the deciding role."""
        self._gate, self._step = gate, step

    async def recall(self, site: CallSite, request: Request) -> Answer | None:
        answer = await self._gate.recall(self._moved(site), request)
        self._note(site, answer)
        return answer

    async def admit(self, site: CallSite, request: Request, worst_case: WorstCase) -> Permit:
        return await self._gate.admit(self._moved(site), request, worst_case)

    async def defer(self, site: CallSite, request: Request, worst_case: WorstCase, composed: ComposedRequest) -> Failure:
        return await self._gate.defer(self._moved(site), request, worst_case, composed)

    async def record(self, call: Call) -> float | None:
        self._note(call.site, call.answer)
        return await self._gate.record(replace(call, site=self._moved(call.site)))

    async def discard(self, site: CallSite, permit: Permit) -> None:
        await self._gate.discard(self._moved(site), permit)

    def recorded(self, calls: Sequence[Row]) -> list[Row]:
        """Those of the cell's calls that this part made, at its own call sites."""
        mine = [call for call in calls if self.offset <= call["index"] < self.offset + self._step]
        return [call | {"index": call["index"] - self.offset} for call in mine]

    def _note(self, site: CallSite, answer: Answer | None) -> None:
        if answer is not None and site.role == agents.final_role():
            self.rating_probability = answer.rating_probability

    def _moved(self, site: CallSite) -> CallSite:
        """Raises PipelineError where it would be a call site of the next part."""
        if site.index >= self._step:
            what = f"{site.role} asked more than {self._step} times in one part of a cascade"
            raise agents.PipelineError(f"{what}; use an arm with one model, or a program that asks less often")
        return replace(site, index=site.index + self.offset)


DecidePart = Callable[[Mapping[str, Model], PartAdmission], Awaitable[Result]]
"""Decides the case with one lineup, under the call sites of one part."""


async def decide(cell: Cell, gate: ClockedAdmission, decide_part: DecidePart) -> Result:
    """Run the parts that the rule asks for; the decision is that of the last one. Raises Halt."""
    rule: Mapping[str, Any] = cell.extra["cascade"]
    first, then = cell.lineups
    step = PROGRAM_REPEAT_INDEX if cell.is_attached else REPEAT_INDEX
    repeats: list[Result] = []
    for number in range(int(rule.get("repeats_disagree", 1))):
        part = PartAdmission(gate, number * step, step)
        repeats.append(await decide_part(_seeded(first, number), part))
        if isinstance(repeats[-1].error, RedisError):
            return repeats[-1]
        if asks_second(rule, repeats, part.rating_probability):
            second = await decide_part(then, PartAdmission(gate, THEN_INDEX, THEN_INDEX))
            return _joined([*repeats, second], [*(step * place for place in range(len(repeats))), THEN_INDEX], second)
    return _joined(repeats, [step * place for place in range(len(repeats))], repeats[0])


def asks_second(rule: Mapping[str, Any], repeats: Sequence[Result], rating_probability: float | None = None) -> bool:
    """Whether the answers so far ask for the second lineup; one that is not usable always does.

    `rating_probability`: that of the last answer's rating, None where its server returned none."""
    decisions = [result.decision for result in repeats]
    if any(decision is None or result.error for decision, result in zip(decisions, repeats, strict=True)):
        return True
    confidences = [decision.confidence for decision in decisions if decision]
    if "confidence_below" in rule:
        return any(confidence is None or confidence < rule["confidence_below"] for confidence in confidences)
    if "rating_probability_below" in rule:
        return rating_probability is None or rating_probability < rule["rating_probability_below"]
    return len({decision.rating for decision in decisions if decision}) > 1


def _seeded(lineup: Mapping[str, Model], number: int) -> dict[str, Model]:
    """Each repeat inside a cell samples with a seed of its own."""
    return {role: _with_seed(model, number) for role, model in lineup.items()}


def _with_seed(model: Model, number: int) -> Model:
    seed = model.params.get("seed")
    if seed is None or not number:
        return model
    return replace(model, params={**model.params, "seed": int(seed) + 1_000_000 * number})


def _joined(parts: Sequence[Result], offsets: Sequence[int], final: Result) -> Result:
    """The final result with the parsed forms, the tool skill and what is known of the program in all parts."""
    parsed: dict[str, str] = {}
    for part, offset in zip(parts, offsets, strict=True):
        parsed |= _moved(part.parsed, offset)
    skill = sum((part.tool_skill for part in parts[1:]), parts[0].tool_skill)
    assert isinstance(skill, ToolSkill)
    return replace(final, parsed=parsed, tool_skill=skill, program=_counted(parts, final))


def _counted(parts: Sequence[Result], final: Result) -> Mapping[str, Any]:
    """What is known of an attached program: its last part, with the calls of all of them."""
    if not final.program:
        return final.program
    described = [part.program for part in parts]
    counts = {name: sum((Counter(each.get(name, {})) for each in described), Counter()) for name in _COUNTED}
    return {
        **final.program,
        "parts": len(parts),
        **{name: sum(int(each.get(name, 0)) for each in described) for name in ("calls", "named")},
        **{name: dict(count) for name, count in counts.items()},
        "cut": sorted({role for each in described for role in each.get("cut", ())}),
        "failures": [failure for each in described for failure in each.get("failures", ())],
        **({"files": _files(described)} if "files" in final.program else {}),
    }


def _files(described: Sequence[Mapping[str, Any]]) -> dict[str, list[str]]:
    """The kept files of all parts."""
    parts = [each.get("files", {}) for each in described]
    return {name: [file for part in parts for file in part.get(name, ())] for name in ("kept", "left_out")}


def _moved(parsed: Mapping[str, str], offset: int) -> dict[str, str]:
    """Forms by call site key, with the index moved."""
    pairs = ((key.rpartition("/"), text) for key, text in parsed.items())
    return {f"{place}/{int(index) + offset}": text for (place, _, index), text in pairs}
