"""The gates of an experiment: thresholds that must hold for exit code 0 after a finished run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from reports.answer import wording
from reports.format import known, usd_text

if TYPE_CHECKING:
    from reports.answer.findings import Findings
    from reports.load import Run

_PER_ARM: Mapping[str, tuple[str, str]] = {
    "max_usd_per_usable_decision": ("cost", "usd"),
    "min_usable_share": ("usable", "share"),
    "min_same_rating": ("same_rating", "share"),
    "max_p95_service_s": ("service_p95", "s"),
}
"""gate -> (metric, unit)."""
_NO_PRICE = "a request has no known price"
_NO_FIGURE = "no decision of this arm can be counted"


@dataclass(frozen=True)
class Gate:
    """One declared limit and the measured value."""

    name: str
    arm: str | None
    """None for a limit on the whole run."""
    limit: float
    value: float | None
    """None if it was not measured; such a gate fails."""
    unit: str
    why_not: str = ""
    """Why there is no figure."""

    @property
    def is_passed(self) -> bool:
        if self.value is None:
            return False
        return self.value <= self.limit if self.name.startswith("max") else self.value >= self.limit

    def __str__(self) -> str:
        why = f" ({self.why_not})" if self.why_not else ""
        measured = f"was not measured{why}" if self.value is None else f"is {wording.figure(self.unit, self.value)}"
        word = "passed" if self.is_passed else "FAILED"
        bound = "at most" if self.name.startswith("max") else "at least"
        whose = f" for {self.arm}" if self.arm else ""
        return f"{word}: {self.name}{whose} {measured}, must be {bound} {wording.figure(self.unit, self.limit)}"


def check(run: Run, findings: Findings) -> list[Gate]:
    """Check every declared gate, per arm with models if it is about arms."""
    return [gate for name, limit in run.settings.gates.items() for gate in _gates(run, findings, name, limit)]


def _gates(run: Run, findings: Findings, name: str, limit: float) -> Iterator[Gate]:
    if name == "max_run_usd":
        yield Gate(name, None, limit, _bill(run), "usd", _NO_PRICE)
    if name not in _PER_ARM:
        return
    metric, unit = _PER_ARM[name]
    for arm in run.arms:
        if arm in run.settings.rule_arms or (name == "min_same_rating" and arm == findings.baseline):
            continue
        lacks_a_price = metric == "cost" and _lacks_a_price(run, arm)
        value = None if lacks_a_price else _value(findings, metric, arm)
        yield Gate(name, arm, limit, value, unit, _NO_PRICE if lacks_a_price else _NO_FIGURE)


def _value(findings: Findings, metric: str, arm: str) -> float | None:
    estimate = findings.row(metric).values.get(arm)
    return estimate.value if estimate is not None and known(estimate.value) else None


def _lacks_a_price(run: Run, arm: str) -> bool:
    """A figure that leaves out cells without a price is not the arm's cost."""
    return bool(run.measured_cells.loc[run.measured_cells["arm"] == arm, "cost_usd"].isna().any())


def _bill(run: Run) -> float | None:
    costs: Any = run.calls["cost_usd"]
    return None if costs.isna().any() else float(costs.sum())


def summary(gates: list[Gate]) -> str:
    """One line per gate."""
    return "\n".join(map(str, gates)) if gates else f"no gates are declared (for example max_run_usd: {usd_text(5)})"
