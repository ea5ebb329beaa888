"""Forecast and actual cost of each arm, for the report."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from harness.storage.folder import Folder

if TYPE_CHECKING:
    import pandas as pd

    from harness.planning.plan import Plan

FORECAST = "forecast.json"


def write(run: Folder, plan: Plan, run_id: str) -> None:
    """Keep the plan of this session, and what the run had paid before it."""
    arms = {name: arm for name, arm in plan.to_plain()["arms"].items() if arm["cells"]}
    session = {"price_version": plan.price_version, "arms": arms, "before": _bills(run, run_id)}
    stored = read(run)
    run.write(FORECAST, json.dumps({"sessions": [*stored.get("sessions", []), session]}, indent=2).encode())


def read(run: Folder) -> dict[str, Any]:
    """The kept forecasts, one per session; empty without any."""
    raw = run.read_if_there(FORECAST)
    return dict(json.loads(raw)) if raw else {}


def settle(run: Folder, run_id: str) -> None:
    """Compare the cost of the last session with its forecast.

    Arms whose cells have not all ended are left open; cells reused from earlier runs count in neither."""
    stored = read(run)
    if not stored or stored["sessions"][-1].get("settled"):
        return
    session, now = stored["sessions"][-1], _bills(run, run_id)
    for name, arm in session["arms"].items():
        bill = _since(now.get(name), session["before"].get(name))
        if bill and bill["cells"] >= arm["cells"]:
            arm |= {"bill": bill} | _judged(arm, bill)
    session["settled"] = True
    run.write(FORECAST, json.dumps(stored, indent=2).encode())


def _since(now: Mapping[str, Any] | None, before: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """What was paid since; unknown stays unknown."""
    if now is None or before is None:
        return None if now is None else dict(now)
    return {key: None if value is None or before[key] is None else value - before[key] for key, value in now.items()}


def _judged(arm: Mapping[str, Any], bill: Mapping[str, Any]) -> dict[str, Any]:
    low, high, paid = arm["api_cost_usd"]["low"], arm["api_cost_usd"]["high"], bill["api_cost_usd"]
    is_complete = None not in (low, high, paid)
    return {"inside": low <= paid <= high if is_complete else None}


def _bills(run: Folder, run_id: str) -> dict[str, dict[str, Any]]:
    """What this run paid per arm."""
    cells = _cells(run)
    if cells is None:
        return {}
    mine = cells[(cells["run_id"] == run_id) & cells["status"].notna()]
    return {str(arm): _bill(group) for arm, group in mine.groupby("arm")}


def _bill(group: pd.DataFrame) -> dict[str, Any]:
    return {
        "cells": len(group),
        "calls": int(group["llm_calls"].sum()),
        "input_tokens": _whole(group["input_tokens"]),
        "output_tokens": _whole(group["output_tokens"]),
        "cost_usd": _whole(group["cost_usd"]),
        "api_cost_usd": _whole(group["api_cost_usd"]),
        "service_s": _whole(group["service_s"]),
    }


def _whole(column: pd.Series) -> float | None:
    """A sum whose parts are all known."""
    return None if column.isna().any() else float(column.sum())


def _cells(run: Folder) -> pd.DataFrame | None:
    import pyarrow.parquet as pq

    columns = ["run_id", "arm", "status", "llm_calls", "input_tokens", "output_tokens", "cost_usd", "api_cost_usd", "service_s"]
    try:
        with run.open("cells.parquet") as file:
            frame: pd.DataFrame = pq.read_table(file, columns=columns).to_pandas()
    except FileNotFoundError:
        return None
    return frame
