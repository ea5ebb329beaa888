"""Prices of requests to self-hosted servers in the derived tables: the time of a machine is counted once.

A worker prices each request by its own seconds, because it does not know which others the machine answers meanwhile."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

from domain.hardware import Hardware
from reports.money import machine_time

if TYPE_CHECKING:
    import pyarrow as pa

_COLUMNS = ("call_id", "cell_id", "run_id", "server", "started_at", "duration_s", "cost_usd")


def shared(calls: pa.Table, cells: pa.Table, manifest: Mapping[str, Any]) -> tuple[pa.Table, pa.Table]:
    """The tables of a run with each local request priced by its share of the machine's time."""
    rows = calls.select(list(_COLUMNS)).to_pylist()
    prices = dict(_prices(rows, manifest.get("hardware") or {}))
    if not prices:
        return calls, cells
    for row in rows:
        row["cost_usd"] = prices.get(row["call_id"], row["cost_usd"])
    costs: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows:
        costs[row["cell_id"]].append(row)
    changed = {row["cell_id"] for row in rows if row["call_id"] in prices}
    return _with(calls, "cost_usd", [row["cost_usd"] for row in rows]), _cells(
        cells, costs, changed, str(manifest.get("run_id"))
    )


def _prices(rows: Iterable[Mapping[str, Any]], machines: Mapping[str, Any]) -> Iterable[tuple[str, float]]:
    """call_id -> price, for the calls that have a price and a known time."""
    by_server: dict[str, list[Mapping[str, Any]]] = defaultdict(list)
    for row in rows:
        if row["server"] in machines and None not in (row["cost_usd"], row["started_at"], row["duration_s"]):
            by_server[row["server"]].append(row)
    for server, group in by_server.items():
        hardware = Hardware.of(machines[server])
        starts = [row["started_at"].timestamp() for row in group]
        spans = [(start, start + row["duration_s"]) for start, row in zip(starts, group, strict=True)]
        for row, seconds in zip(group, machine_time.shares(spans), strict=True):
            usd = hardware.usd(seconds)
            if usd is not None:
                yield row["call_id"], usd


def _cells(cells: pa.Table, calls: Mapping[str, list[dict[str, Any]]], changed: set[str], run_id: str) -> pa.Table:
    """The cells with the sums of their calls' new prices; what other runs sent is reused."""
    rows = cells.select(["cell_id", "cost_usd", "reused_usd"]).to_pylist()
    for row in rows:
        if row["cell_id"] in changed:
            row["cost_usd"] = _sum(call["cost_usd"] for call in calls[row["cell_id"]])
            row["reused_usd"] = _sum(call["cost_usd"] for call in calls[row["cell_id"]] if call["run_id"] != run_id)
    cells = _with(cells, "cost_usd", [row["cost_usd"] for row in rows])
    return _with(cells, "reused_usd", [row["reused_usd"] for row in rows])


def _sum(costs: Iterable[float | None]) -> float | None:
    known = list(costs)
    return None if None in known else float(sum(cost for cost in known if cost is not None))


def _with(table: pa.Table, name: str, values: list[float | None]) -> pa.Table:
    import pyarrow as pa

    index = table.schema.get_field_index(name)
    return table.set_column(index, table.schema.field(index), pa.array(values, table.schema.field(index).type))
