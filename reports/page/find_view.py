"""The section on a search: its funnel, money, each candidate's intervals look by look."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import pandas as pd
from markupsafe import Markup

from reports import finding
from reports.finding import RECOMMENDED, SCREENED_OUT, ArmLook, Finding
from reports.page import finding_wording, svg

if TYPE_CHECKING:
    from reports.load import Run

WIDTH, HEIGHT = 250, 120
LEFT, RIGHT, TOP, BOTTOM = 44, 240, 8, 96


@dataclass(frozen=True)
class FunnelStage:
    """One line of the funnel."""

    title: str
    arms: tuple[str, ...]


@dataclass(frozen=True)
class Candidate:
    """One candidate in the section."""

    name: str
    slot: int
    state: str
    words: str
    usd: float | None
    cells: int
    charts: tuple[tuple[str, Markup], ...]
    """Metric -> its intervals look by look."""


@dataclass(frozen=True)
class SearchUsd:
    """What the search cost, and what the whole matrix would have cost."""

    spent: float
    screen: float
    """Part of `spent`: the baseline's cases of the screen, and all replays."""
    fixed: float
    estimated: tuple[str, ...]
    """Arms without a cell of their own: their part of `fixed` is the plan's."""


class FindView:
    """Data of the section."""

    def __init__(self, run: Run, found: Finding, slots: Mapping[str, int]) -> None:
        self._run, self.found, self._slots = run, found, slots
        self.answer = finding_wording.answer(found)
        self.unsettled = tuple(finding_wording.unsettled(found, with_bounds=False)) if found.pick is None else ()
        self.earlier_looks = finding_wording.earlier_looks(found) if found.earlier else ""
        self.design = found.design

    @property
    def funnel(self) -> tuple[FunnelStage, ...]:
        """Candidates by how far they came, the fewest last."""
        found, last = self.found, self.found.looks[-1].arms if self.found.looks else {}
        return (
            FunnelStage("candidates", found.design.candidates),
            FunnelStage("passed the screen", found.started if found.screened is not None else ()),
            FunnelStage("not stopped for a loss", tuple(arm for arm, shown in last.items() if not shown.is_dropped)),
            FunnelStage("good enough, each on its own", tuple(arm for arm, shown in last.items() if shown.is_good)),
            FunnelStage(
                "good enough, corrected for the number of candidates",
                tuple(arm for arm, shown in last.items() if shown.is_claimed),
            ),
        )

    @cached_property
    def candidates(self) -> tuple[Candidate, ...]:
        return tuple(self._candidate(arm) for arm in self.found.design.candidates)

    def _candidate(self, arm: str) -> Candidate:
        found, shown = self.found, self.found.last(arm)
        words = finding_wording.screening(found, arm) if shown is None else finding_wording.standing(shown)
        if shown is not None and found.state(arm) != SCREENED_OUT:
            words += "; " + "; ".join(finding_wording.bounds(found, shown))
        gate = found.design.gate
        charts = tuple(
            (finding_wording.title(name), looks_chart(_looks_of(found, arm), place, gate.margins[place], found.design.looks))
            for place, name in enumerate(gate.metrics)
        )
        slot = self._slots.get(arm, len(self._slots))
        drawn = charts if shown is not None else ()
        return Candidate(arm, slot, found.state(arm), words, shown.usd_per_decision if shown else None, self._cells(arm), drawn)

    def _cells(self, arm: str) -> int:
        return self.found.looks_of(arm) * self.design.cases_of_block * self.design.arm_repeats

    @property
    def cells_used(self) -> int:
        return self.found.cells_used

    @property
    def share_of_fixed(self) -> float:
        return self.cells_used / self.design.fixed_cells

    @cached_property
    def usd(self) -> SearchUsd | None:
        """Dollars of the search and of the whole matrix at the same prices; None if a price is unknown."""
        cells, design = self._run.cells, self.design
        spent = [*cells["cost_usd"], *self._run.replays["cost_usd"]]
        screened = cells[cells["case_id"].isin(design.screen_cases)]
        screen = float(screened["cost_usd"].sum() + self._run.replays["cost_usd"].sum())
        if not self.found.looks or any(map(pd.isna, spent)):
            return None
        means = cells.groupby("arm")["cost_usd"].mean()
        measured = {str(arm): float(mean) for arm, mean in means.items()}
        per_cell = {**self.found.planned_usd, **measured}
        arms = (design.baseline, *design.candidates)
        if any(arm not in per_cell for arm in arms):
            return None
        cases = design.cases_of_block * design.looks
        repeats = dict.fromkeys(design.candidates, design.arm_repeats) | {design.baseline: design.baseline_repeats}
        fixed = sum(cases * repeats[arm] * per_cell[arm] for arm in arms)
        return SearchUsd(float(sum(spent)), screen, fixed, tuple(arm for arm in arms if arm not in measured))

    @property
    def recommended(self) -> str | None:
        """The recommended experiment, as YAML."""
        return self._run.read_text(RECOMMENDED) if self.found.pick else None


def of_run(run: Run, slots: Mapping[str, int]) -> FindView | None:
    """The section's data; None if `find` did not make this run."""
    found = finding.read(run)
    return None if found is None else FindView(run, found, slots)


def _looks_of(found: Finding, arm: str) -> list[tuple[int, ArmLook]]:
    return [(look.number, look.arms[arm]) for look in found.looks if arm in found.compared_at(look.number)]


def looks_chart(looks: Sequence[tuple[int, ArmLook]], place: int, margin: float, planned: int) -> Markup:
    """Estimate and interval of one metric after each look, with the margin as a line."""
    known = [(number, shown) for number, shown in looks if not math.isnan(shown.estimates[place])]
    reach = min(1.0, max([2 * margin, *(abs(shown.estimates[place]) * 1.2 for _, shown in known)]))
    y, x = svg.scale(reach, -reach, TOP, BOTTOM), svg.scale(0.5, planned + 0.5, LEFT, RIGHT)
    parts = [
        svg.y_tick(value, y(value), LEFT, RIGHT, f"{value * 100:+.0f}" if value else "0") for value in (reach, 0.0, -reach)
    ]
    parts.append(svg.line(LEFT, y(-margin), RIGHT, y(-margin), "margin-line"))
    parts += [svg.text(str(number), x(number), BOTTOM + 16, "middle") for number in range(1, planned + 1)]
    for number, shown in known:
        low, high = max(shown.at_least[place], -reach), min(shown.at_most[place], reach)
        kind = "look-shown" if shown.flags[place] else "look-open"
        interval = svg.line(x(number), y(low), x(number), y(high), kind)
        hit = svg.rect(x(number) - 12, TOP, 24, BOTTOM - TOP, "hit")
        point = Markup('<g class="{}">{}</g>').format(kind, svg.marker(0, x(number), y(shown.estimates[place]), 3.5))
        parts.append(svg.tipped(hit + interval + point, finding_wording.look(number, shown, place)))
    label = "; ".join(finding_wording.look(number, shown, place) for number, shown in known)
    return svg.svg(WIDTH, HEIGHT, parts, f"{label or 'not known'}; the margin is {margin * 100:g} points", "looks")
