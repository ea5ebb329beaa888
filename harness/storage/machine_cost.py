"""Prices of requests to self-hosted servers in the derived tables: the time of a machine is counted once.

A worker prices each request by its own seconds, because it does not know which others the machine answers meanwhile."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from domain.hardware import Hardware
from reports.money import machine_time

if TYPE_CHECKING:
    import pyarrow as pa

COLUMNS = ("call_id", "cell_id", "run_id", "server", "started_at", "duration_s", "cost_usd")
"""The columns of calls that prices depend on."""

CellCost = tuple[float | None, float | None]
"""cost_usd and reused_usd of a cell."""


@dataclass(frozen=True)
class MachineCosts:
    """What differs from the prices that workers recorded."""

    by_call: Mapping[str, float]
    """call_id -> price by its share of the machine's time."""
    by_cell: Mapping[str, CellCost]
    """Cells with such calls."""

    @classmethod
    def of(cls, calls: pa.Table, manifest: Mapping[str, Any]) -> MachineCosts:
        """`calls`: COLUMNS of all calls of the run."""
        rows = calls.to_pylist()
        prices = dict(_prices(rows, manifest.get("hardware") or {}))
        return cls(prices, dict(_of_cells(rows, prices, str(manifest.get("run_id")))))

    def in_calls(self, calls: pa.Table) -> pa.Table:
        """Rows of `calls` with these prices."""
        if not self.by_call:
            return calls
        recorded = zip(calls["call_id"].to_pylist(), calls["cost_usd"].to_pylist(), strict=True)
        return _with(calls, "cost_usd", [self.by_call.get(call_id, usd) for call_id, usd in recorded])

    def in_cells(self, cells: pa.Table) -> pa.Table:
        """Rows of `cells` with the sums of these prices."""
        if not self.by_cell:
            return cells
        recorded = zip(*(cells[name].to_pylist() for name in ("cell_id", "cost_usd", "reused_usd")), strict=True)
        costs = [self.by_cell.get(cell_id, (cost, reused)) for cell_id, cost, reused in recorded]
        cells = _with(cells, "cost_usd", [cost for cost, _ in costs])
        return _with(cells, "reused_usd", [reused for _, reused in costs])


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


def _of_cells(rows: Iterable[Mapping[str, Any]], prices: Mapping[str, float], run_id: str) -> Iterable[tuple[str, CellCost]]:
    """cell_id -> the sums of its calls' new prices; what other runs sent is reused."""
    calls_by_cell: dict[str, list[tuple[float | None, bool]]] = defaultdict(list)
    for row in rows:
        calls_by_cell[row["cell_id"]].append((prices.get(row["call_id"], row["cost_usd"]), row["run_id"] != run_id))
    for cell_id in {row["cell_id"] for row in rows if row["call_id"] in prices}:
        calls = calls_by_cell[cell_id]
        yield cell_id, (_sum(usd for usd, _ in calls), _sum(usd for usd, is_reused in calls if is_reused))


def _sum(costs: Iterable[float | None]) -> float | None:
    known = list(costs)
    return None if None in known else float(sum(cost for cost in known if cost is not None))


def _with(table: pa.Table, name: str, values: list[float | None]) -> pa.Table:
    import pyarrow as pa

    index = table.schema.get_field_index(name)
    return table.set_column(index, table.schema.field(index), pa.array(values, table.schema.field(index).type))
