"""What a decision really costs: billed and cold, wasted, saved by caching; hardware of one's own on three lines."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from domain.hardware import Hardware
from reports.format import known
from reports.metrics import catalog
from reports.money import breakdown, hardware
from reports.money.breakdown import Total
from reports.money.hardware import CostLines

if TYPE_CHECKING:
    import pandas as pd

    from reports.load import Run
    from reports.stats.estimate import Estimate


@dataclass(frozen=True)
class ArmCost:
    """Money of one arm over all attempts; None where a part of it is not known."""

    cells: int
    usable: int
    billed: Total
    """As it was paid, caches as they were found."""
    cold: Total
    """The same calls if no cache had been warm: repeats and hybrids find warm ones, which flatters them."""
    failed: Total
    """Requests that brought no answer, killed ones included."""
    repaired: Total
    """Repair requests."""
    unusable: Total
    """Answers of cells that ended without a usable decision."""
    hosted: Total
    """Part of it that hosted providers billed."""
    per_usable: float | None
    """The endpoint `cost_per_usable`, so that one number stands everywhere."""

    @property
    def per_cell(self) -> float | None:
        return self.billed.per(self.cells)

    @property
    def saved_by_caching(self) -> float | None:
        if not (self.billed.is_whole and self.cold.is_whole):
            return None
        return (self.cold.value or 0.0) - (self.billed.value or 0.0)


@dataclass(frozen=True)
class LocalUse:
    """One arm's use of one local server, on the three lines; per decision where there were usable ones."""

    arm: str
    server: str
    calls: int
    computed_s: float | None
    """Seconds that the server says it computed, summed over calls."""
    machine_s: float | None
    """Seconds in which at least one of them was computing: what the machine was really taken for."""
    utilisation: float | None
    """machine_s as a share of the time from first to last call."""
    total: CostLines
    usable: int

    @property
    def machine_s_per_decision(self) -> float | None:
        return None if self.machine_s is None or not self.usable else self.machine_s / self.usable


def by_arm(run: Run) -> dict[str, ArmCost]:
    """Arm -> its money."""
    calls, cells = run.pipeline_calls, run.cells
    usable = cells["rating"].notna() & (cells["status"] == "ok")
    bad = set(cells.loc[~usable, "cell_id"])
    per_usable = catalog.figures_by_arm(run, "cost_per_usable")
    found = {}
    for arm, group in calls.groupby("arm", sort=False):
        mine = cells["arm"] == arm
        answered = group["outcome"] == "answered"
        found[str(arm)] = ArmCost(
            cells=int(mine.sum()),
            usable=int((mine & usable).sum()),
            billed=breakdown.total(group["cost_usd"]),
            cold=breakdown.total(_cold(group)),
            failed=breakdown.total(group.loc[~answered, "cost_usd"]),
            repaired=breakdown.total(group.loc[group["kind"] == "repair", "cost_usd"]),
            unusable=breakdown.total(group.loc[answered & group["cell_id"].isin(bad), "cost_usd"]),
            hosted=breakdown.total(group.loc[~breakdown.self_hosted(run, group), "cost_usd"]),
            per_usable=_value(per_usable.get(str(arm))),
        )
    return found


def _value(found: Estimate | None) -> float | None:
    return found.value if found is not None and known(found.value) else None


def local_use(run: Run) -> list[LocalUse]:
    """Every arm on every server of its own, with energy from the meter's file where one lies in the run's folder."""
    calls = run.pipeline_calls
    machines: Mapping[str, Any] = run.manifest.get("hardware") or {}
    usable = run.cells[run.cells["rating"].notna()].groupby("arm").size()
    local = calls[calls["server"].isin(list(machines))]
    meters = {server: _readings(run, server) for server in machines}
    return [
        _use(str(arm), str(server), group, Hardware.of(machines[str(server)]), meters[str(server)], int(usable.get(arm, 0)))
        for (arm, server), group in local.groupby(["arm", "server"], sort=False)
    ]


def _use(
    arm: str, server: str, calls: pd.DataFrame, machine: Hardware, readings: list[hardware.PowerReading], usable: int
) -> LocalUse:
    parts = calls[["load_s", "prefill_s", "decode_s"]]
    told = parts[["prefill_s", "decode_s"]].notna().any(axis=1)
    computed = float(parts[told].sum().sum()) if told.all() and len(calls) else None
    spans = busy_spans(calls)
    taken = sum(end - start for start, end in spans) if spans else None
    whole = spans[-1][1] - spans[0][0] if spans else 0.0
    share = taken / whole if taken and whole else None
    joules = _joules(readings, spans)
    return LocalUse(arm, server, len(calls), computed, taken, share, hardware.cost_lines(taken, machine, joules, share), usable)


def busy_spans(calls: pd.DataFrame) -> list[tuple[float, float]]:
    """Spans (Unix seconds) in which at least one call was with the server; overlapping calls count once."""
    known = calls.dropna(subset=["started_at", "duration_s"])
    starts = [stamp.timestamp() for stamp in known["started_at"]]
    spans = sorted(zip(starts, (s + d for s, d in zip(starts, known["duration_s"], strict=True)), strict=True))
    merged: list[tuple[float, float]] = []
    for start, end in spans:
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _joules(readings: list[hardware.PowerReading], spans: list[tuple[float, float]]) -> float | None:
    """Energy above idle over all spans; None when the meter missed too much of one."""
    if not readings or not spans:
        return None
    idle = hardware.idle_watts(readings, spans)
    parts = [hardware.energy_used(readings, start, end, idle).joules for start, end in spans]
    return None if None in parts else sum(part for part in parts if part is not None)


def _readings(run: Run, server: str) -> list[hardware.PowerReading]:
    raw = run.read_text(f"power/{server}.jsonl")
    return hardware.parse_readings(raw.splitlines()) if raw else []


def _cold(calls: pd.DataFrame) -> pd.Series:
    """Price without any cache; a call of one's own hardware has none to tell."""
    return calls["cold_usd"].where(calls["cold_usd"].notna(), calls["cost_usd"])


@dataclass(frozen=True)
class Forecast:
    """What hosted models were expected to bill for one arm in one session; None where it is not known."""

    arm: str
    cells: int
    low: float | None
    high: float | None
    paid: float | None
    inside: bool | None
    basis: str


def forecasts(run: Run) -> list[Forecast]:
    """Every arm of every session; empty where no forecast was kept."""
    raw = run.read_text("forecast.json")
    told = json.loads(raw) if raw else {}
    sessions = told.get("sessions") or ([told] if "arms" in told else [])
    return [_forecast(str(name), arm) for session in sessions for name, arm in session["arms"].items()]


def _forecast(name: str, arm: Mapping[str, Any]) -> Forecast:
    said, bill = arm.get("api_cost_usd") or {}, arm.get("bill") or {}
    return Forecast(
        arm=name,
        cells=int(arm.get("cells") or 0),
        low=said.get("low"),
        high=said.get("high"),
        paid=bill.get("api_cost_usd"),
        inside=arm.get("inside"),
        basis=str(arm.get("basis") or ""),
    )
