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


def give_forms(run: Path, rating: Callable[[Row], str]) -> None:
    """Every portfolio manager's answer of the run gets a typed object."""
    calls = pq.read_table(run / "calls.parquet").to_pylist()
    for call in calls:
        if call["role"] == "portfolio_manager" and call["outcome"] == "answered":
            call["parsed"] = json.dumps({"rating": rating(call), "confidence": 60, "summary": "as said"})
    write(run, "calls", calls)


def write(run: Path, name: str, rows: list[Row]) -> None:
    pq.write_table(pa.Table.from_pylist(rows, schema=tables.TABLES[name]), run / f"{name}.parquet")
