"""Which cases may support a claim about returns: after the knowledge cutoff, in windows that do not overlap."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

import numpy as np

from reports.metrics import outcomes
from reports.trust import cutoffs

if TYPE_CHECKING:
    import pandas as pd

    from reports.metrics.facts import Facts


class EligibleCases:
    """The cases of a run, by arm and stratum, as masks over facts.dates."""

    def __init__(self, facts: Facts) -> None:
        self.facts, self.run = facts, facts.run
        self._spans: dict[int, dict[Any, tuple[Any, Any]]] = {}
        self._cases: dict[tuple[int, str, tuple[str, ...]], Any] = {}

    @cached_property
    def cutoffs(self) -> dict[str, cutoffs.ArmCutoff]:
        return {arm: cutoffs.of_arm(self.run.settings, arm) for arm in self.facts.arms}

    @cached_property
    def strata(self) -> dict[str, pd.Series[Any]]:
        """arm -> (case_id -> before | grey | after | unknown)."""
        return {arm: cutoffs.strata(cutoff, self.facts.dates) for arm, cutoff in self.cutoffs.items()}

    def cases(self, horizon: int, *arms: str) -> Any:
        """Mask of the cases after the cutoffs of all these arms, on dates whose outcome windows do not overlap."""
        return self.of_stratum(horizon, "after", *arms)

    def of_stratum(self, horizon: int, stratum: str, *arms: str) -> Any:
        """Mask of the cases that are of one stratum for all these arms, on dates whose outcome windows do not overlap."""
        key = (horizon, stratum, arms)
        if key not in self._cases:
            is_of = [(self.strata[arm] == stratum).to_numpy() for arm in arms]
            self._cases[key] = self._apart(horizon, np.logical_and.reduce(is_of))
        return self._cases[key]

    def why_none(self, horizon: int, *arms: str) -> str:
        """Why no case of these arms may support a claim."""
        if not len(self.facts.dates):
            return "no whole case has ended yet"
        for arm in arms:
            if self.cutoffs[arm].unknown:
                names = ", ".join(self.cutoffs[arm].unknown)
                return f"the knowledge cutoff of {names} is not known"
            if not (self.strata[arm] == "after").any():
                cutoff = self.cutoffs[arm].cutoff
                return f"no case lies 90 days after the knowledge cutoff of {cutoff.model if cutoff else arm}"
        statuses = outcomes.statuses(self.run, horizon)
        if not statuses:
            return "no outcomes were recorded"
        if not statuses.get("known"):
            return f"outcomes of all {sum(statuses.values())} cases are still pending or missing"
        return "no case with a known outcome was decided by both"

    def _apart(self, horizon: int, mask: Any) -> Any:
        if horizon not in self._spans:
            self._spans[horizon] = outcomes.spans(self.run, horizon, self.facts.dates)
        dates = self.facts.dates
        chosen = outcomes.independent_dates(self._spans[horizon], dates[mask].unique())
        return mask & dates.isin(chosen).to_numpy()
