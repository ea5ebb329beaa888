"""What a decision really costs: billed and cold, wasted, saved by caching; hardware of one's own on three lines."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from domain.hardware import Hardware
from reports import per_arm
from reports.figures import known
from reports.money import breakdown, energy, hardware
from reports.money.breakdown import Total
from reports.money.hardware import Lines

if TYPE_CHECKING:
    import pandas as pd

    from reports.estimate import Estimate
    from reports.load import Run


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
    total: Lines
    usable: int

    @property
    def machine_s_per_decision(self) -> float | None:
        return None if self.machine_s is None or not self.usable else self.machine_s / self.usable


def by_arm(run: Run) -> dict[str, ArmCost]:
    """Arm -> its money."""
    calls, cells = breakdown.pipeline_calls(run), run.cells
    usable = cells["rating"].notna() & (cells["status"] == "ok")
    bad = set(cells.loc[~usable, "cell_id"])
    per_usable = per_arm.figures(run, "cost_per_usable")
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
            hosted=breakdown.total(group.loc[~group["provider"].isin(breakdown.LOCAL), "cost_usd"]),
            per_usable=_value(per_usable.get(str(arm))),
        )
    return found


def _value(found: Estimate | None) -> float | None:
    return found.value if found is not None and known(found.value) else None


def local_use(run: Run) -> list[LocalUse]:
    """Every arm on every server of its own, with energy from the meter's file where one lies in the run's folder."""
    calls = breakdown.pipeline_calls(run)
    machines: Mapping[str, Any] = run.manifest.get("hardware") or {}
    usable = run.cells[run.cells["rating"].notna()].groupby("arm").size()
    local = calls[calls["server"].isin(list(machines))]
    meters = {server: _readings(run, server) for server in machines}
    return [
        _use(str(arm), str(server), group, Hardware.of(machines[str(server)]), meters[str(server)], int(usable.get(arm, 0)))
        for (arm, server), group in local.groupby(["arm", "server"], sort=False)
    ]


def _use(
    arm: str, server: str, calls: pd.DataFrame, machine: Hardware, readings: list[energy.Reading], usable: int
) -> LocalUse:
    parts = calls[["load_s", "prefill_s", "decode_s"]]
    told = parts[["prefill_s", "decode_s"]].notna().any(axis=1)
    computed = float(parts[told].sum().sum()) if told.all() and len(calls) else None
    spans = busy_spans(calls)
    taken = sum(end - start for start, end in spans) if spans else None
    whole = spans[-1][1] - spans[0][0] if spans else 0.0
    share = taken / whole if taken and whole else None
    joules = _joules(readings, spans)
    return LocalUse(arm, server, len(calls), computed, taken, share, hardware.lines(taken, machine, joules, share), usable)


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


def _joules(readings: list[energy.Reading], spans: list[tuple[float, float]]) -> float | None:
    """Energy above idle over all spans; None when the meter missed too much of one."""
    if not readings or not spans:
        return None
    idle = energy.idle_watts(readings, spans)
    parts = [energy.used(readings, start, end, idle).joules for start, end in spans]
    return None if None in parts else sum(part for part in parts if part is not None)


def _readings(run: Run, server: str) -> list[energy.Reading]:
    raw = run.read_text(f"power/{server}.jsonl")
    return energy.parse(raw.splitlines()) if raw else []


def _cold(calls: pd.DataFrame) -> pd.Series:
    """Price without any cache; a call of one's own hardware has none to tell."""
    return calls["cold_usd"].where(calls["cold_usd"].notna(), calls["cost_usd"])
