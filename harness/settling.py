"""Forecast against bill: what the plan said per arm, what it came to, and what the next plan learns from it."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from harness import experience
from harness.folder import Folder

if TYPE_CHECKING:
    import pandas as pd

    from harness.plan import Plan

FORECAST = "forecast.json"


def write(run: Folder, plan: Plan) -> None:
    """Keep what the plan says beside the run; a plan that continues a run does not replace the first one's word on an arm."""
    old = read(run)
    arms = {name: arm for name, arm in plan.to_plain()["arms"].items() if arm["cells"]}
    keys = {name: plan.model_keys.get(name, "") for name in arms}
    said = {name: arm | {"models": keys[name]} for name, arm in arms.items()}
    run.write(
        FORECAST, json.dumps({"price_version": plan.price_version, "arms": said | dict(old.get("arms", {}))}, indent=2).encode()
    )


def read(run: Folder) -> dict[str, Any]:
    """The kept forecast; empty where none was made."""
    raw = run.read_if_there(FORECAST)
    return dict(json.loads(raw)) if raw else {}


def settle(results: Folder, run: Folder, run_id: str) -> dict[str, Any]:
    """Put the bill beside the forecast of each arm that has ended, and keep how far off it was for the next plan.

    Compares what this run paid per cell; cells taken over from earlier runs are not in it."""
    kept = read(run)
    bills = _bills(run, run_id)
    new: list[dict[str, Any]] = []
    for name, arm in kept.get("arms", {}).items():
        if name in bills and "bill" not in arm and bills[name]["cells"] >= arm["cells"]:
            arm |= {"bill": bills[name]} | _judged(arm, bills[name])
            new += _line(arm, run_id)
    if kept:
        run.write(FORECAST, json.dumps(kept, indent=2).encode())
    experience.keep(results, new)
    return kept


def _judged(arm: Mapping[str, Any], bill: Mapping[str, Any]) -> dict[str, Any]:
    low, high, paid = arm["api_cost_usd"]["low"], arm["api_cost_usd"]["high"], bill["api_cost_usd"]
    known = None not in (low, high, paid)
    return {"inside": low <= paid <= high if known else None}


def _line(arm: Mapping[str, Any], run_id: str) -> Iterator[dict[str, Any]]:
    mid, paid = arm["api_cost_usd"]["mid"], arm["bill"]["api_cost_usd"]
    if mid and paid and arm["models"]:
        yield {"models": arm["models"], "log_ratio": math.log(paid / mid), "run_id": run_id, "measured": arm["measured"]}


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
    import io

    import pyarrow.parquet as pq

    raw = run.read_if_there("cells.parquet")
    if raw is None:
        return None
    columns = ["run_id", "arm", "status", "llm_calls", "input_tokens", "output_tokens", "cost_usd", "api_cost_usd", "service_s"]
    frame: pd.DataFrame = pq.read_table(io.BytesIO(raw), columns=columns).to_pandas()
    return frame
