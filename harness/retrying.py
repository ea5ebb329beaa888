"""Retrying: failed and timed-out cells are opened again; what they have cost stays in the tables and in the bill."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness import status
from harness.queue import control, in_flight

if TYPE_CHECKING:
    from harness.storage.run_folder import RunFolder

REOPENED = ("failed", "timeout")


def reopen_failed(run: RunFolder, broker: str | None = None) -> tuple[int, bool]:
    """Set the receipts aside; returns how many, and whether a run in progress was told."""
    store = run.store
    chosen = [cell_id for cell_id, receipt in store.receipts().items() if receipt["status"] in REOPENED]
    for cell_id in chosen:
        store.reopen(cell_id)
    with status.connected(run, broker) as client:
        if client is None:
            return len(chosen), False
        for cell_id in chosen:
            in_flight.forget_deaths(client, run.run_id, cell_id)
        is_running = control.is_running(client, run.run_id)
        if is_running and chosen:
            client.rpush(control.reopen_key(run.run_id), *chosen)
        return len(chosen), is_running
