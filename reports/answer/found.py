"""What was found: the numbers of a run as the page, the exports and the sentences read them."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property

from reports.answer.best import BestOfMany
from reports.estimate import Estimate
from reports.placebos import Placebo
from reports.registry import Metric
from reports.similarity import Similarity
from reports.trust.cutoffs import ArmCutoff
from reports.verdict import Verdict


@dataclass(frozen=True)
class Comparison:
    """One arm against the baseline on one endpoint, paired by case."""

    arm: str
    baseline: str
    scale: str
    """difference: arm minus baseline; ratio: arm divided by baseline (1 is no difference)."""
    estimate: Estimate
    verdict: Verdict | None
    """None where the experiment does not declare the endpoint, or the run is unfinished."""
    words: str = ""
    """The verdict as a reader is told it."""
    note: str = ""
    """What the reader must know beside it: windows, strata, cases left out."""

    @property
    def has_interval(self) -> bool:
        """Whether the matrix can carry a sentence: an interval, and more than one date behind it."""
        return self.estimate.dates > 1 and math.isfinite(self.estimate.low) and math.isfinite(self.estimate.high)

    @property
    def is_apart(self) -> bool:
        """Whether the 95 % interval leaves out `no difference`."""
        nothing = 1.0 if self.scale == "ratio" else 0.0
        return not self.estimate.low <= nothing <= self.estimate.high


@dataclass(frozen=True)
class Row:
    """One endpoint over all arms."""

    metric: Metric
    is_declared: bool
    margin: float | None
    values: Mapping[str, Estimate]
    """arm -> figure; for similarity the baseline's own figure is its noise floor."""
    comparisons: Mapping[str, Comparison]
    """arm -> comparison; the baseline has none."""
    by_stratum: Mapping[str, Mapping[str, Estimate]]
    """arm -> before | grey | after | unknown -> figure, for outcomes; empty otherwise."""


@dataclass(frozen=True)
class Takeaway:
    """One sentence and where its number stands."""

    lead: str
    """What is measured, with the baseline's own figure."""
    clauses: tuple[str, ...]
    """What is found of each arm."""
    endpoint: str
    """Name of the endpoint whose row is the proof."""
    arm: str | None = None
    """The arm it is about; None where it names several."""

    @property
    def text(self) -> str:
        return f"{self.lead}: {'; '.join(self.clauses)}."


@dataclass(frozen=True)
class Findings:
    """All numbers of a run."""

    run_id: str
    baseline: str | None
    arms: tuple[str, ...]
    rules: frozenset[str]
    """Arms that decide without a model."""
    is_interim: bool
    cases: int
    dates: int
    rows: tuple[Row, ...]
    similarities: Mapping[str, Similarity]
    """arm -> how its ratings meet the baseline's; the baseline against itself is the noise floor."""
    cutoffs: Mapping[str, ArmCutoff]
    strata: Mapping[str, Mapping[str, int]]
    """arm -> before | grey | after | unknown -> cases."""
    placebos: tuple[Placebo, ...] = ()
    best: BestOfMany | None = None
    """Arms that cannot be told from the best one, where three or more met ten windows or more."""
    takeaways: tuple[Takeaway, ...] = ()
    changes: tuple[str, ...] = ()
    """What would change the conclusion."""
    caveats: tuple[str, ...] = ()

    def row(self, name: str) -> Row:
        """The row of an endpoint. Raises KeyError when there is none."""
        return self._by_name[name]

    def verdict(self, name: str, arm: str) -> Verdict | None:
        """The verdict on a declared endpoint, None where there is none."""
        comparison = self._by_name[name].comparisons.get(arm) if name in self._by_name else None
        return comparison.verdict if comparison else None

    @property
    def declared(self) -> tuple[Row, ...]:
        return tuple(row for row in self.rows if row.is_declared)

    @cached_property
    def _by_name(self) -> dict[str, Row]:
        return {row.metric.name: row for row in self.rows}
