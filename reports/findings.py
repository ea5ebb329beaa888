"""What a run found: every endpoint per arm with its interval, each arm against the baseline, and the verdicts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from reports.estimate import Estimate
from reports.registry import Metric
from reports.similarity import Similarity
from reports.takeaways import Takeaway
from reports.verdict import Verdict

if TYPE_CHECKING:
    pass


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
    note: str = ""
    """What the reader must know beside it: windows, strata, cases left out."""


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


@dataclass(frozen=True)
class Findings:
    """All numbers of a run."""

    run_id: str
    baseline: str | None
    arms: tuple[str, ...]
    is_interim: bool
    rows: tuple[Row, ...]
    similarities: Mapping[str, Similarity]
    """arm -> how its ratings meet the baseline's; the baseline against itself is the noise floor."""
    takeaways: tuple[Takeaway, ...]
    changes: tuple[str, ...]
    """What would change the conclusion."""
    caveats: tuple[str, ...]

    def row(self, name: str) -> Row:
        """The row of an endpoint. Raises KeyError when there is none."""
        return next(row for row in self.rows if row.metric.name == name)

    def verdict(self, name: str, arm: str) -> Verdict | None:
        """The verdict on a declared endpoint, None where there is none."""
        found = (row.comparisons.get(arm) for row in self.rows if row.metric.name == name)
        return next((comparison.verdict for comparison in found if comparison), None)
