"""What models may remember: the latest knowledge cutoff of an arm, and the stratum of each of its cases."""

from __future__ import annotations

import datetime as dt
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from domain import models
from domain.models import Cutoff

if TYPE_CHECKING:
    import pandas as pd

    from reports.settings import Settings

GREY = dt.timedelta(days=90)
STRATA = ("before", "grey", "after", "unknown")


@dataclass(frozen=True)
class ArmCutoff:
    """The latest cutoff among an arm's models."""

    arm: str
    cutoff: Cutoff | None
    """None for a rule, which remembers nothing, or if a model is unknown."""
    unknown: tuple[str, ...] = ()
    """Models without a known cutoff; one is enough to make no claim about the arm's returns."""

    def stratum(self, date: dt.date) -> str:
        """One of STRATA for a case of this date."""
        if self.unknown:
            return "unknown"
        if self.cutoff is None or date > self.cutoff.cutoff + GREY:
            return "after"
        return "grey" if date >= self.cutoff.cutoff - GREY else "before"


def of_model(name: str) -> Cutoff | None:
    """The cutoff of a model's family; None where it is unknown."""
    family = models.family_of(name)
    return family.cutoff if family else None


def of_arm(settings: Settings, arm: str) -> ArmCutoff:
    """The latest cutoff of the arm's models."""
    cutoff_by_model = {model.name: of_model(model.name) for model in settings.models_of(arm)}
    unknown = tuple(name for name, cutoff in cutoff_by_model.items() if cutoff is None)
    if not cutoff_by_model and arm not in settings.rule_arms:
        unknown = (arm,)
    known_cutoffs = [cutoff for cutoff in cutoff_by_model.values() if cutoff]
    return ArmCutoff(arm, max(known_cutoffs, key=lambda cutoff: cutoff.cutoff, default=None), unknown)


def strata(cutoff: ArmCutoff, dates: pd.Series[Any]) -> pd.Series[Any]:
    """Return case_id -> stratum, from case_id -> date."""
    by_date = {date: cutoff.stratum(date.date()) for date in dates.unique()}
    return dates.map(by_date)
