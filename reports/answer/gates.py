"""The gates of an experiment: thresholds that must hold for exit code 0 after a finished run."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from reports.answer import wording
from reports.format import known, usd_text
from reports.metrics import registry

if TYPE_CHECKING:
    from reports.answer.findings import Findings
    from reports.load import Run
    from reports.metrics.measure import PairedTest

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


@dataclass(frozen=True)
class ChangeGate(Gate):
    """A limit on the change since an earlier run, case by case."""

    scale: str = "difference"
    p: float | None = None
    """One-sided p of no change for the worse; None without a test, as on a single date."""
    cases: int = 0
    before: str = ""
    """Id of the earlier run."""

    @property
    def is_passed(self) -> bool:
        if self.value is None:
            return False
        is_past = self.value < self.limit if self.limit < 0 or self.name in LOSSES else self.value > self.limit
        return not (is_past and (self.p is None or self.p < CHANCE))

    def __str__(self) -> str:
        word = "passed" if self.is_passed else "FAILED"
        whose = f"{word}: {self.name} for {self.arm} against {self.before}"
        if self.value is None:
            return f"{whose} was not measured ({self.why_not})"
        amounts = [wording.difference(self.unit, self.scale, self._shown(number)) for number in (self.value, self.limit)]
        chance = "no test on these dates" if self.p is None else f"p {self.p:.2g}"
        bound = "at least" if self.name in LOSSES else "at most"
        return f"{whose} changed by {amounts[0]} over {self.cases:,} common cases ({chance}), must be {bound} {amounts[1]}"

    def _shown(self, change: float) -> float:
        """A relative change as the ratio that the wording expects."""
        return 1 + change if self.scale == "ratio" else change


LOSSES = ("same_rating", "usable", "grounding")
RISES = ("cost", "service_p50")
FILE = "against.json"
CHANCE = 0.05
"""A change past its limit fails its gate if chance alone makes such a change for the worse less often than this."""


def changes_since(before: Run, after: Run, limits: Mapping[str, float]) -> str:
    """The content of FILE: the change of each gate's metric in every arm that both runs have."""
    from reports.answer import paired_runs

    measured = paired_runs.tests(before, after, tuple(limits))
    rule_arms = after.settings.rule_arms
    entries = [_entry(name, limits[name], arm, test) for (arm, name), test in measured.items() if arm not in rule_arms]
    if not entries:
        why_not = f"no arm of {before.run_id} is in this run"
        entries = [
            {"name": name, "arm": None, "limit": limit, "value": None, "why_not": why_not} for name, limit in limits.items()
        ]
    return json.dumps({"before": before.run_id, "gates": entries}, indent=1)


def _entry(name: str, limit: float, arm: str, test: PairedTest | None) -> dict[str, Any]:
    entry: dict[str, Any] = {"name": name, "arm": arm, "limit": limit, "unit": registry.METRICS[name].unit}
    if test is None or not known(test.estimate.value):
        return {**entry, "value": None, "why_not": "no case is known in both runs"}
    is_ratio = test.scale == "ratio"
    tail = test.sample.p_below if name in LOSSES else test.sample.p_above
    with np.errstate(divide="ignore", invalid="ignore"):
        p = float(tail(0.0))
    value = test.estimate.value - 1 if is_ratio else test.estimate.value
    return {**entry, "value": value, "p": p if known(p) else None, "scale": test.scale, "cases": test.estimate.cases}


def _kept_changes(run: Run) -> Iterator[Gate]:
    text = run.read_text(FILE)
    document = json.loads(text) if text else {"gates": []}
    for entry in document["gates"]:
        yield ChangeGate(**{"unit": "share", **entry}, before=document["before"])


def check(run: Run, findings: Findings) -> list[Gate]:
    """Check every declared gate, per arm with models if it is about arms; then those on changes since an earlier run."""
    declared = [gate for name, limit in run.settings.gates.items() for gate in _gates(run, findings, name, limit)]
    return [*declared, *_kept_changes(run)]


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
