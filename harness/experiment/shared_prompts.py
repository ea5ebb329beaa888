"""Which cells of a run send the same first prompts to the same model, and how far apart they run."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace

import agents
from agents import Sharing
from harness.cells import Cell

CELLS_AT_ONCE = 32
"""Cells of hosted models that run side by side: closer ones start before the other's prompt is in the cache."""
CELL_S = 120.0
"""Typical duration of a cell of hosted models."""
SHORT_S, LONG_S = 25 * 60.0, 11.5 * 3600.0
"""Cells further apart than the first need a lifetime of hours, and beyond the second none is long enough."""

_Key = tuple[object, ...]


def with_sharing(cells: Sequence[Cell]) -> list[Cell]:
    """The cells, in the order in which they run, with what each shares with earlier and later ones."""
    places: defaultdict[_Key, list[int]] = defaultdict(list)
    for place, cell in enumerate(cells):
        for _, key in _prompts(cell):
            places[key].append(place)
    return [replace(cell, sharing=_sharing(cell, place, places)) for place, cell in enumerate(cells)]


def _sharing(cell: Cell, place: int, places: defaultdict[_Key, list[int]]) -> Sharing:
    before: Counter[str] = Counter()
    after: Counter[str] = Counter()
    gaps_s: list[float] = []
    for role, key in _prompts(cell):
        for other in places[key]:
            gap_s = abs(other - place) / CELLS_AT_ONCE * CELL_S
            if abs(other - place) < CELLS_AT_ONCE or gap_s > LONG_S:
                continue
            (before if other < place else after)[role] += 1
            gaps_s += [gap_s] if other > place else []
    return replace(cell.sharing, before=dict(before), after=dict(after), is_long=min(gaps_s, default=0.0) > SHORT_S)


def _prompts(cell: Cell) -> Iterator[tuple[str, _Key]]:
    """Each role that reads the snapshot, and what its prompt depends on."""
    if cell.kind != "pipeline" or cell.is_attached or cell.pipeline.entry or cell.pipeline.inputs == "tools":
        return
    budget = tuple(sorted(cell.pipeline.budget_tokens.items()))
    single_call = cell.pipeline.depth == "single_call"
    for role in (agents.final_role(),) if single_call else agents.analyst_roles():
        if role in cell.lineup:
            model = cell.lineup[role]
            yield role, (role, single_call, cell.case_id, model.server, model.name, cell.pipeline.analysts, budget)
