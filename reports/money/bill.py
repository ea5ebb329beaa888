"""The bill of a month: what one usable decision costs by model and machine, when a bought machine pays off, and where a
dollar goes."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import numpy as np

from domain.hardware import HOURS_PER_MONTH, Hardware
from reports.format import known
from reports.money import breakdown, economics

if TYPE_CHECKING:
    import pandas as pd

    from reports.load import Run

DECISIONS = 1000
"""Decisions a month for which the bill is shown first, unless a usage export was reconciled."""
USAGE = "usage.json"
"""File of the run folder with what a reconciled export shows of the baseline's models on other days."""
EXACT = 1e-3
"""Largest relative error at which recorded costs count as tokens times prices."""


@dataclass(frozen=True)
class ArmBill:
    """What one usable decision of an arm costs, failed and unusable ones included."""

    arm: str
    usd: float | None
    """The metric `cost`; None if unknown."""
    hosted: Mapping[str, float] = field(default_factory=dict)
    """Hosted model -> US dollars."""
    local: Mapping[str, float] = field(default_factory=dict)
    """Self-hosted server -> US dollars, as the run priced it."""
    machine_s: Mapping[str, float] = field(default_factory=dict)
    """Self-hosted server -> seconds of the machine, requests at the same time counted once."""

    @property
    def hosted_usd(self) -> float:
        return sum(self.hosted.values())


@dataclass(frozen=True)
class BreakEven:
    """From how many decisions a month a bought machine makes an arm cheaper than another one."""

    decisions: int | None
    why_never: str = ""
    """Why there is no such number; empty otherwise."""


def bills(run: Run, usd: Mapping[str, float], usable: Mapping[str, int]) -> list[ArmBill]:
    """Every arm that called a model, in the order of the experiment; from its cost per usable decision and their number."""
    cells, calls = run.measured_cells, run.pipeline_calls
    calls = calls[calls["cell_id"].isin(cells.loc[cells["cost_usd"].notna(), "cell_id"])]
    is_local = breakdown.self_hosted(run, calls)
    seconds = economics.machine_seconds(run)
    called = [arm for arm in run.arms if arm in set(run.pipeline_calls["arm"])]
    return [_bill(arm, usd[arm], usable[arm], calls, is_local, seconds) for arm in called]


def _bill(
    arm: str, usd: float, usable: int, calls: pd.DataFrame, is_local: pd.Series[bool], seconds: pd.Series[float]
) -> ArmBill:
    if not known(usd) or not usable:
        return ArmBill(arm, None)
    mine = calls[calls["arm"] == arm]
    priced_usable = float(mine["cost_usd"].sum()) / usd if usd else float(usable)
    hosted, local = mine[~is_local[mine.index]], mine[is_local[mine.index]]
    machine_s = seconds.reindex(local.index).groupby(local["server"]).sum(min_count=1).dropna()
    return ArmBill(
        arm,
        usd,
        _per(hosted.groupby("model_requested")["cost_usd"].sum(), priced_usable),
        _per(local.groupby("server")["cost_usd"].sum(), priced_usable),
        _per(machine_s, priced_usable),
    )


def _per(sums: pd.Series[float], decisions: float) -> dict[str, float]:
    return {str(name): float(value) / decisions for name, value in sums.items()}


def break_even(bill: ArmBill, other_usd: float | None, machines: Mapping[str, Hardware]) -> BreakEven | None:
    """The arm on bought machines against another one at `other_usd` a decision; None without the prices for it."""
    if not bill.machine_s or other_usd is None:
        return None
    fixed, marginal, capacity = 0.0, bill.hosted_usd, math.inf
    for server, machine_s in bill.machine_s.items():
        machine = machines.get(server, Hardware("unknown"))
        month, energy = machine.purchase_usd_per_month, machine.energy_usd_per_s
        if month is None or energy is None:
            return None
        fixed, marginal = fixed + month, marginal + energy * machine_s
        capacity = min(capacity, HOURS_PER_MONTH * 3600 * (machine.utilisation or 1.0) / machine_s if machine_s else math.inf)
    if other_usd <= marginal:
        return BreakEven(None, "one more decision costs as much there")
    needed = math.ceil(fixed / (other_usd - marginal) - 1e-9)
    if needed > capacity:
        return BreakEven(None, f"one machine makes {capacity:,.0f} a month, and a second one costs the same again")
    return BreakEven(needed)


# --- where a dollar goes -------------------------------------------------------------------------------------------------

REPAIRS, UNUSABLE = "asked again", "failed or unusable"


@dataclass(frozen=True)
class Dollar:
    """Where the money of one arm went, in US dollars per usable decision."""

    arm: str
    usd: float
    parts: tuple[tuple[str, float], ...]
    """(group of roles, or REPAIRS or UNUSABLE, dollars), in the order of the flow."""
    reasoning: float | None
    """Part of it for reasoning tokens; None if the price of an output token is unknown."""
    cache_saved: float | None
    """What warm caches saved; None if unknown."""


def dollars(run: Run, arm_bills: Sequence[ArmBill]) -> list[Dollar]:
    """Every arm of known cost."""
    costs = economics.by_arm(run)
    return [_dollar(run, bill, costs[bill.arm].saved_by_caching) for bill in arm_bills if bill.usd]


def _dollar(run: Run, bill: ArmBill, saved: float | None) -> Dollar:
    calls = run.pipeline_calls[run.pipeline_calls["arm"] == bill.arm].dropna(subset=["cost_usd"])
    cells = run.measured_cells
    usable = cells.loc[cells["rating"].notna() & (cells["status"] == "ok"), "cell_id"]
    calls = calls[calls["cell_id"].isin(cells["cell_id"])]
    total = float(calls["cost_usd"].sum())
    per = (bill.usd or 0.0) / total if total else 0.0
    is_lost = ~calls["cell_id"].isin(usable) | (calls["outcome"] != "answered")
    names = _group_names(run, run.roles.in_order(map(str, calls["role"].unique())))
    groups = calls["role"].map(names)
    groups = groups.mask(calls["kind"] == "repair", REPAIRS).mask(is_lost, UNUSABLE)
    sums = calls.groupby(groups)["cost_usd"].sum()
    order = [*dict.fromkeys(names.values()), REPAIRS, UNUSABLE]
    parts = tuple((name, float(sums[name]) * per) for name in order if sums.get(name, 0.0) > 0)
    reasoning = _reasoning(calls)
    return Dollar(bill.arm, bill.usd or 0.0, parts, None if reasoning is None else reasoning * per, _times(saved, per))


def _times(value: float | None, factor: float) -> float | None:
    return None if value is None else value * factor


def _group_names(run: Run, roles: Sequence[str]) -> dict[str, str]:
    """Role -> its group: analysts together, debaters of a stage together, the others alone."""
    stages = {role.name: role for role in run.roles.roles}
    names = {}
    for role in roles:
        facts = stages.get(role)
        shared = facts is not None and (facts.is_debater or facts.stage == "analysis")
        names[str(role)] = _STAGE_WORDS.get(facts.stage, facts.stage) if facts and shared else str(role).replace("_", " ")
    return names


_STAGE_WORDS = {"analysis": "analysts", "debate": "bull and bear", "research": "bull and bear", "risk": "risk voices"}


def _reasoning(calls: pd.DataFrame) -> float | None:
    """Dollars of the reasoning tokens at the price of an output token, which the recorded costs reveal."""
    total = 0.0
    priced = calls[(calls["cost_usd"] > 0) & (calls["reasoning_tokens"] > 0)]
    for _, group in priced.groupby(["model_requested", "service_tier", "price_version"], dropna=False):
        price = _output_price(group)
        if price is None:
            return None
        total += price * float(group["reasoning_tokens"].sum())
    return total


def _output_price(calls: pd.DataFrame) -> float | None:
    """US dollars of an output token, if the costs are prices times tokens; None otherwise."""
    cached, written = calls["cached_tokens"].fillna(0), calls["cache_write_tokens"].fillna(0)
    counts = np.column_stack([calls["input_tokens"] - cached - written, cached, written, calls["output_tokens"]]).astype(float)
    used = np.flatnonzero(counts.any(axis=0))
    usd = calls["cost_usd"].to_numpy(float)
    if len(usd) <= len(used) or np.isnan(counts).any():
        return None
    prices, _, rank, _ = np.linalg.lstsq(counts[:, used], usd, rcond=None)
    is_exact = rank == len(used) and bool((np.abs(counts[:, used] @ prices - usd) <= EXACT * usd).all())
    return float(prices[-1]) if is_exact and counts.shape[1] - 1 in used else None
