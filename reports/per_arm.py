"""One endpoint's own figure of each arm, without any comparison."""

from __future__ import annotations

from typing import TYPE_CHECKING

from reports import metrics as _declared  # noqa: F401 - importing the file fills the registry
from reports import registry
from reports.facts import Facts
from reports.measure import Measured

if TYPE_CHECKING:
    from reports.estimate import Estimate
    from reports.load import Run


def figures(run: Run, name: str) -> dict[str, Estimate]:
    """Arm -> its own figure of one endpoint that is not about outcomes; empty where no whole case has ended."""
    facts = Facts(run)
    if not len(facts.cells):
        return {}
    measured = Measured(facts, registry.DECLARED[name])
    return {arm: measured.value(arm) for arm in facts.arms}
