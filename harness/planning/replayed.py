"""What a declared replay and its judges will add to a run: their calls, forecast like any arm's."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import replace

import agents
from harness.cells import Cell
from harness.experiment import again
from harness.experiment.again import Wish
from harness.experiment.spec import Experiment
from harness.planning import workload
from harness.planning.experience import Experience
from harness.planning.forecast import Part
from harness.planning.rendering import Prompt, Renderer
from harness.planning.workload import PlannedCall, Workload

_VERDICT_TOKENS = 90
_FRAME_TOKENS = 330
"""What a judge is told beside the recorded prompt and the two answers."""
_ORDERS = 2


def parts(experiment: Experiment, cells: Sequence[Cell], renderer: Renderer, learnt: Experience) -> list[Part]:
    """One part per replay, then one per judge; at most this much, since what was replayed before costs nothing again."""
    wish = Wish.declared(experiment)
    if wish is None:
        return []
    replays, judgements = again.planned(experiment, wish, cells)
    loads = {cell.arm: _replay(cell, renderer, learnt) for cell in _first(replays)}
    loads |= {cell.arm: _judge(cell, renderer, learnt) for cell in _first(judgements)}
    counts = again.per_arm([*replays, *judgements])
    return [Part(arm, counts[arm], load) for arm, load in loads.items()]


def _first(cells: Iterable[Cell]) -> list[Cell]:
    """One cell of each arm."""
    found: dict[str, Cell] = {}
    for cell in cells:
        found.setdefault(cell.arm, cell)
    return list(found.values())


def _replay(cell: Cell, renderer: Renderer, learnt: Experience) -> Workload:
    """The source's prompts of the roles that are replayed, a turn that used tools left out."""
    everybody = dict.fromkeys(agents.role_names(), next(iter(cell.lineup.values()))) | dict(cell.lineup)
    typical = replace(cell, lineup=everybody, pipeline=replace(cell.pipeline, inputs="prefetch"))
    whole = workload.of_arm(typical, renderer, learnt)
    return replace(whole, calls=tuple(call for call in whole.calls if call.role in cell.lineup))


def _judge(cell: Cell, renderer: Renderer, learnt: Experience) -> Workload:
    """Each replayed prompt twice, with both answers; what the judge's model wrote in that role tells nothing of verdicts."""
    whole = _replay(cell, renderer, learnt)
    calls = tuple(_verdict(cell, call) for call in whole.calls for _ in range(_ORDERS))
    return replace(whole, calls=calls)


def _verdict(cell: Cell, asked: PlannedCall) -> PlannedCall:
    shown = asked.input_tokens + 2 * asked.output_tokens + _FRAME_TOKENS
    handed = (asked.handed_share * asked.input_tokens + 2 * asked.output_tokens) / shown
    prompt = Prompt(asked.role, shown, asked.cacheable_tokens, _VERDICT_TOKENS, asked.output_cap, handed)
    return workload.call(cell, prompt, Experience())
