"""What the section on outcomes reads."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cached_property
from typing import TYPE_CHECKING

from markupsafe import Markup

from reports import strategy
from reports.drawing import charts

if TYPE_CHECKING:
    from reports.answer.found import Findings, Row
    from reports.load import Run
    from reports.placebos import Placebo
    from reports.strategy import Strategy


class Outcomes:
    """What happened after the decisions."""

    def __init__(self, run: Run, findings: Findings | None, slots: Mapping[str, int]) -> None:
        self.run, self.findings, self._slots = run, findings, slots

    @cached_property
    def is_there(self) -> bool:
        """Whether anything is known about what came after."""
        return self.findings is not None and bool((self.run.outcomes["status"] == "known").any())

    @cached_property
    def rows(self) -> list[tuple[int, list[Row]]]:
        """Horizon -> endpoints about what came after it."""
        found = [row for row in (self.findings.rows if self.findings else ()) if row.metric.horizon is not None]
        horizons = sorted({int(row.metric.horizon or 0) for row in found})
        return [(horizon, [row for row in found if row.metric.horizon == horizon]) for horizon in horizons]

    def placebos(self, horizon: int) -> list[tuple[str, dict[str, Placebo]]]:
        """Placebo -> arm -> what it earned on that arm's cases."""
        found = [one for one in (self.findings.placebos if self.findings else ()) if one.horizon == horizon]
        return [(name, {one.arm: one for one in found if one.name == name}) for name in dict.fromkeys(o.name for o in found)]

    @staticmethod
    def has_stratum(row: Row, stratum: str) -> bool:
        return any(stratum in of_arm for of_arm in row.by_stratum.values())

    @cached_property
    def strategies(self) -> tuple[Strategy, ...]:
        return strategy.strategies(self.run)

    @cached_property
    def strategy_chart(self) -> Markup:
        days = [str(day)[:10] for day in self.strategies[0].value.index]
        series = [(one.name, self._slots.get(one.name, len(self._slots)), one.value.tolist()) for one in self.strategies]
        said = "Value of one dollar that follows each arm: " + ", ".join(f"{n} {v[-1]:.3f}" for n, _, v in series)
        return charts.lines(series, (days[0], days[-1]), said)

    @property
    def conventions(self) -> Mapping[str, str]:
        return strategy.CONVENTIONS
