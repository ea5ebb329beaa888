"""The forecasts that a run kept, each beside its bill."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from reports.load import Run


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


def read(run: Run) -> list[Forecast]:
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
