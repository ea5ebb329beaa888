"""Taking a cell: who holds it, what was paid for it before, and whether a cap lets it start."""

from __future__ import annotations

from typing import TYPE_CHECKING

from harness.errors import Deferred, OverBudget
from harness.gate.gate import CellGate
from harness.gate.lease import LOOK_AGAIN_S, Lease

if TYPE_CHECKING:
    from harness.cells import Cell
    from harness.gate.gatehouse import Gatehouse


async def take(house: Gatehouse, cell: Cell, attempts_before: int = 0) -> CellGate:
    """Hold a cell and bring back what was paid for it. Raises Deferred while another holder lives, OverBudget when a
    cap is met and nothing was paid for this cell yet."""
    models = frozenset(model.alias for model in cell.lineup.values())
    args = [house.holder, attempts_before, *house.caps.of_cell(models)]
    said, *rest = await house.run("open", cell.cell_id, "", args)
    if said == b"held":
        raise Deferred(f"cell {cell.cell_id[:12]} is held by {rest[0].decode()}", delay_s=LOOK_AGAIN_S)
    if said == b"over":
        scope, *names = (one.decode() for one in rest)
        which = " ".join([scope, *names])
        raise OverBudget(f"the cap of the {which} was met before; raise budget.{scope}_usd", scope=scope)
    token, attempt, known = rest
    journal = dict(zip(known[::2], known[1::2], strict=True))
    return CellGate(house, cell, Lease(cell.cell_id, int(token), int(attempt)), journal)
