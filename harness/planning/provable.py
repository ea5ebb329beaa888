"""What an experiment can prove for each metric, before it runs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

from harness.cells import Cell
from harness.experiment.spec import Experiment
from reports import design
from reports.metrics import outcomes

WHOLE_SHARE = 0.999
"""A difference of the whole share: nothing smaller is provable."""


@dataclass(frozen=True)
class Provable:
    """What the matrix can prove about one metric of an arm against the baseline; sizes are fractions."""

    unit: str
    """difference (0.02 is two points), or ratio (0.02 is two per cent)."""
    measure: str
    """What is compared: share, usd, s, return, score ..."""
    cases: int
    dates: int
    """Dates that count: for outcomes those whose windows do not overlap."""
    difference: float | None
    """Smallest true difference that is called in 80 of 100 such runs; None where none is: below two dates, or a share of which
    even the whole would not do."""
    margin: float | None
    """As declared."""
    provable_margin: float | None
    """Smallest margin within which two equal arms are called equivalent in 80 of 100 such runs; None where there is none."""
    can_prove: bool | None
    """Whether the declared margin can be proven; None where none is declared."""
    cases_needed: int | None
    """Cases, as many on a date as here, that would prove the declared margin; None beyond any reason."""
    spend_on: str
    """Whether money for more cells goes further on dates or on repeats."""
    assumed: str
    """Assumed scatter of paired differences, and its source."""

    def to_plain(self) -> dict[str, Any]:
        return asdict(self)


def of_matrix(experiment: Experiment, cells: Sequence[Cell]) -> tuple[dict[str, Provable], tuple[str, ...]]:
    """What can be proven for each declared metric, and the metrics of unknown scatter."""
    model_cells = [cell for cell in cells if cell.lineup] or list(cells)
    repeats = len(model_cells) / max(1, len({(cell.case_id, cell.arm) for cell in model_cells}))
    provable: dict[str, Provable] = {}
    unknown = []
    for name, terms in experiment.compare.metrics.items():
        try:
            provable[name] = _of_metric(name, cells, repeats, terms.margin)
        except KeyError:
            unknown.append(name)
    return provable, tuple(unknown)


def _of_metric(name: str, cells: Sequence[Cell], repeats: float, margin: float | None) -> Provable:
    declared, prior = design.metric_named(name), design.prior(name)
    dates = sorted({cell.date for cell in cells})
    counted = outcomes.windows_of_dates(dates, declared.horizon) if declared.horizon else len(dates)
    per_date = len({cell.case_id for cell in cells}) / max(1, len(dates))
    cases = round(per_date * counted)
    terms: dict[str, Any] = {"cases": max(cases, counted), "dates": counted, "repeats": repeats}
    most = WHOLE_SHARE if declared.unit == "share" else math.inf
    provable = _below(most, design.provable_margin(name, **terms))
    return Provable(
        unit=declared.scale,
        measure=declared.unit,
        cases=cases,
        dates=counted,
        difference=_below(most, design.detectable(name, **terms)),
        margin=margin,
        provable_margin=provable,
        can_prove=None if margin is None else provable is not None and provable <= margin,
        cases_needed=None if not margin else design.cases_needed(name, cases_per_date=per_date, margin=margin, repeats=repeats),
        spend_on=_spend_on(prior.repeat_noise, repeats),
        assumed=f"standard deviation {prior.sd:.2g} of a case's difference: {prior.source}",
    )


def _below(most: float, size: float | None) -> float | None:
    return None if size is None or size >= most else size


def _spend_on(noise: float, repeats: float) -> str:
    """Twice the money: twice the dates halve the whole variance, twice the repeats only the part of the models' dice."""
    by_dates = 1 - math.sqrt(0.5)
    by_repeats = 1 - math.sqrt((1 - noise + noise / (2 * repeats)) / (1 - noise + noise / repeats))
    better = "dates" if by_dates >= by_repeats else "repeats"
    return f"{better}: twice the dates narrow intervals by {by_dates:.0%}, twice the repeats by {by_repeats:.0%}"
