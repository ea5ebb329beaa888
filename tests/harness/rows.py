"""Rows of the result tables for tests of what stores them."""

from __future__ import annotations

from typing import Any

from reports import tables


def receipt_row(cell_id: str, **known: Any) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(tables.CELLS.names)
    return row | {"cell_id": cell_id, "arm": "own", "status": "ok", "llm_calls": 0} | known


def call_row(cell_id: str, call_id: str, **known: Any) -> dict[str, Any]:
    row: dict[str, Any] = dict.fromkeys(tables.CALLS.names)
    return row | {"cell_id": cell_id, "call_id": call_id, "outcome": "answered", "server": "box"} | known


def message_row(text: str) -> dict[str, Any]:
    return {"message_id": f"id of {text}", "role": "user", "text": text}
