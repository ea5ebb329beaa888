"""Synthetic replays: cells and calls that ask one arm's recorded prompts again, added to a run that stands."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from hashlib import sha256
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from reports import tables

Row = dict[str, Any]
Answer = Callable[[Row], Mapping[str, Any]]
"""The source's call -> what differs in the replayed one (response, parsed, cost_usd ...)."""


def add_replay(run: Path, source: str, target: str, answer: Answer) -> None:
    """Write one replay cell per cell of the source arm."""
    cells, calls = (pq.read_table(run / f"{name}.parquet").to_pylist() for name in ("cells", "calls"))
    mine = [cell for cell in cells if cell["arm"] == source and cell["status"] == "ok"]
    arm = f"{source} > {target}"
    new_cells, new_calls = [], []
    for cell in mine:
        name = sha256(f"{arm}{cell['cell_id']}".encode()).hexdigest()
        new_cells.append(cell | {"cell_id": name, "arm": arm, "kind": "replay", "rating": None, "score": None})
        for call in calls:
            if call["cell_id"] == cell["cell_id"] and call["outcome"] == "answered":
                again = {"cell_id": name, "call_id": call["call_id"] + "r", "arm": arm, "kind": "replay"}
                new_calls.append(call | again | {"model_requested": target} | dict(answer(call)))
    write(run, "cells", [*cells, *new_cells])
    write(run, "calls", [*calls, *new_calls])


Say = Callable[[Row, int], str | None]
"""The target's call and the order (0: the source stood first) -> A, B, tie, or None for an answer that cannot be read."""


def add_judge(run: Path, judge: str, replay: str, say: Say, cost_usd: float | None = 0.001) -> None:
    """Write one judging cell per cell of a replay, both orders of every pair."""
    cells, calls = (pq.read_table(run / f"{name}.parquet").to_pylist() for name in ("cells", "calls"))
    arm = tables.judge_arm(judge, replay)
    new_cells, new_calls = [], []
    for cell in [cell for cell in cells if cell["arm"] == replay]:
        name = sha256(f"{arm}{cell['cell_id']}".encode()).hexdigest()
        new_cells.append(cell | {"cell_id": name, "arm": arm, "kind": "judge"})
        asked = [call for call in calls if call["cell_id"] == cell["cell_id"]]
        new_calls += [_verdict(call, name, arm, order, say(call, order), cost_usd) for call in asked for order in (0, 1)]
    write(run, "cells", [*cells, *new_cells])
    write(run, "calls", [*calls, *new_calls])


def _verdict(call: Row, cell_id: str, arm: str, order: int, said: str | None, cost_usd: float | None) -> Row:
    parsed = json.dumps({"reason": f"order {order}", "verdict": said}) if said else None
    where = {"cell_id": cell_id, "call_id": f"{call['call_id']}{arm}{order}", "arm": arm, "kind": "judge", "index": order}
    return call | where | {"parsed": parsed, "response": parsed or "no idea", "cost_usd": cost_usd}


def give_forms(run: Path, rating: Callable[[Row], str]) -> None:
    """Every portfolio manager's answer of the run gets a typed object."""
    calls = pq.read_table(run / "calls.parquet").to_pylist()
    for call in calls:
        if call["role"] == "portfolio_manager" and call["outcome"] == "answered":
            call["parsed"] = json.dumps({"rating": rating(call), "confidence": 60, "summary": "as said"})
    write(run, "calls", calls)


def write(run: Path, name: str, rows: list[Row]) -> None:
    pq.write_table(pa.Table.from_pylist(rows, schema=tables.TABLES[name]), run / f"{name}.parquet")
