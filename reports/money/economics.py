"""What a decision costs: billed and with cold caches, wasted, saved by caching, self-hosted; and forecasts with their bills."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from domain.hardware import Hardware
from reports.money import breakdown, hardware, machine_time
from reports.money.breakdown import Total
from reports.money.hardware import CostLines

if TYPE_CHECKING:
    import pandas as pd

    from reports.load import Run


@dataclass(frozen=True)
class ArmCost:
    """Money of one arm over all attempts; None if a part is unknown."""

    billed: Total
    """As billed, with caches as they were."""
    cold: Total
    """The same calls with cold caches: repeats and hybrids find warm ones, which makes them look cheaper."""

    @property
    def saved_by_caching(self) -> float | None:
        if not (self.billed.is_whole and self.cold.is_whole):
            return None
        return (self.cold.value or 0.0) - (self.billed.value or 0.0)


@dataclass(frozen=True)
class LocalUse:
    """One arm's use of one local server, with its three costs."""

    arm: str
    server: str
    calls: int
    machine_s: float | None
    """The arm's share of the seconds in which the machine had any request; its price is made of this."""
    utilisation: float | None
    """Share of the time from the arm's first to its last call in which it had any call."""
    total: CostLines
    usable: int

    @property
    def machine_s_per_decision(self) -> float | None:
        return None if self.machine_s is None or not self.usable else self.machine_s / self.usable


@dataclass(frozen=True)
class LocalCalls:
    """One arm's calls to one local server."""

    arm: str
    server: str
    calls: pd.DataFrame
    machine_s: pd.Series[float]
    """Each call's share of the machine's time."""


def by_arm(run: Run) -> dict[str, ArmCost]:
    """Arm -> its money."""
    return {
        str(arm): ArmCost(breakdown.total(calls["cost_usd"]), breakdown.total(_cold(calls)))
        for arm, calls in run.pipeline_calls[["arm", "cost_usd", "cold_usd"]].groupby("arm", sort=False)
    }


def local_use(run: Run) -> list[LocalUse]:
    """Every arm on every local server, with energy from the meter's file in the run folder, if there is one."""
    calls = run.pipeline_calls
    machines = run.record.hardware or {}
    usable = run.cells[run.cells["rating"].notna()].groupby("arm").size()
    local = calls[calls["server"].isin(list(machines))]
    seconds = machine_seconds(run)
    meters = {server: _readings(run, server) for server in machines}
    return [
        _use(
            LocalCalls(str(arm), str(server), group, seconds.reindex(group.index)),
            machines[str(server)],
            meters[str(server)],
            int(usable.get(arm, 0)),
        )
        for (arm, server), group in local.groupby(["arm", "server"], sort=False)
    ]


def machine_seconds(run: Run) -> pd.Series[float]:
    """Share of its machine's time of each call to a self-hosted server, whatever arm the other calls are of."""
    import pandas as pd

    calls = run.calls[breakdown.self_hosted(run, run.calls)]
    shares = []
    for _, group in calls.dropna(subset=["started_at", "duration_s"]).groupby("server"):
        starts = [stamp.timestamp() for stamp in group["started_at"]]
        spans = [(start, start + seconds) for start, seconds in zip(starts, group["duration_s"], strict=True)]
        shares.append(pd.Series(machine_time.shares(spans), index=group.index))
    return pd.concat(shares) if shares else pd.Series(dtype=float)


def _use(local: LocalCalls, machine: Hardware, readings: list[hardware.PowerReading], usable: int) -> LocalUse:
    calls = local.calls
    spans = busy_spans(calls)
    busy_s = sum(end - start for start, end in spans) if spans else None
    machine_s = float(local.machine_s.sum()) if spans else None
    elapsed = spans[-1][1] - spans[0][0] if spans else 0.0
    utilisation = busy_s / elapsed if busy_s and elapsed else None
    joules = _joules(readings, spans)
    if joules is not None and busy_s and machine_s is not None:
        joules *= machine_s / busy_s
    lines = hardware.cost_lines(machine_s, machine, joules, utilisation)
    return LocalUse(local.arm, local.server, len(calls), machine_s, utilisation, lines, usable)


def busy_spans(calls: pd.DataFrame) -> list[tuple[float, float]]:
    """Spans (Unix seconds) in which the server had at least one call; overlapping calls count once."""
    timed_calls = calls.dropna(subset=["started_at", "duration_s"])
    starts = [stamp.timestamp() for stamp in timed_calls["started_at"]]
    spans = sorted(zip(starts, (s + d for s, d in zip(starts, timed_calls["duration_s"], strict=True)), strict=True))
    merged: list[tuple[float, float]] = []
    for start, end in spans:
        if merged and start <= merged[-1][1]:
            merged[-1] = (merged[-1][0], max(end, merged[-1][1]))
        else:
            merged.append((start, end))
    return merged


def _joules(readings: list[hardware.PowerReading], spans: list[tuple[float, float]]) -> float | None:
    """Energy above idle over all spans; None if the meter missed too much of one."""
    if not readings or not spans:
        return None
    idle = hardware.idle_watts(readings, spans)
    parts = [hardware.energy_used(readings, start, end, idle) for start, end in spans]
    return None if None in parts else sum(part for part in parts if part is not None)


def _readings(run: Run, server: str) -> list[hardware.PowerReading]:
    raw = run.read_text(f"power/{server}.jsonl")
    return hardware.parse_readings(raw.splitlines()) if raw else []


def _cold(calls: pd.DataFrame) -> pd.Series:
    """Price with cold caches; a self-hosted call has only one price."""
    return calls["cold_usd"].where(calls["cold_usd"].notna(), calls["cost_usd"])


@dataclass(frozen=True)
class Forecast:
    """Expected bill of hosted models for one arm in one session; None if unknown."""

    arm: str
    cells: int
    low: float | None
    high: float | None
    paid: float | None
    inside: bool | None
    basis: str


def forecasts(run: Run) -> list[Forecast]:
    """The forecasts of every session; empty without any."""
    raw = run.read_text("forecast.json")
    document = json.loads(raw) if raw else {}
    sessions = document.get("sessions") or ([document] if "arms" in document else [])
    return [_forecast(str(name), arm) for session in sessions for name, arm in session["arms"].items()]


def _forecast(name: str, arm: Mapping[str, Any]) -> Forecast:
    interval, bill = arm.get("api_cost_usd") or {}, arm.get("bill") or {}
    return Forecast(
        arm=name,
        cells=int(arm.get("cells") or 0),
        low=interval.get("low"),
        high=interval.get("high"),
        paid=bill.get("api_cost_usd"),
        inside=arm.get("inside"),
        basis=str(arm.get("basis") or ""),
    )
