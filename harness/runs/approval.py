"""Before a run spends money: show its plan, keep it in the run folder, and ask."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from harness.errors import InvalidInput, Problem, Stopped
from harness.experiment import matrix
from harness.planning import plan as planning
from harness.planning import plan_text, settling

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from rich.console import Console

    from harness.cells import Cell
    from harness.checking.resolved import ResolvedRun
    from harness.experiment.servers import ServerSpec
    from harness.runs.session import RunOptions, RunPlan
    from harness.storage.run_folder import RunFolder


def show_plan(
    resolved: ResolvedRun,
    cells: Sequence[Cell],
    options: RunOptions,
    console: Console,
    *,
    left: Iterable[Cell] | None = None,
    windows: Mapping[str, int] | None = None,
) -> planning.Plan:
    """Print the forecast of these cells; `left`: those that still have to run; `windows`: contexts of running servers."""
    keys = None if left is None else frozenset(cell.cell_key for cell in left)
    plan = planning.make(resolved, cells, planning.Where(options.results, options.snapshots), left=keys, windows=windows)
    plan_text.show(plan, console)
    return plan


def local_hardware(specs: Mapping[str, ServerSpec]) -> dict[str, dict[str, Any]]:
    """What each self-hosted server's machine costs, for the manifest: reports read nothing but the run folder."""
    return {name: asdict(spec.hardware) for name, spec in specs.items() if not spec.is_hosted}


def keep_plan(run: RunFolder, plan: planning.Plan) -> None:
    """Keep the plan in the run folder, to compare it with the actual cost."""
    settling.write(run.store.folder, plan, run.run_id)


def ask_before_spending(plan: RunPlan, cells: Iterable[Cell], console: Console) -> None:
    """Ask before calls to hosted models. Raises Stopped on no, InvalidInput without terminal and budget."""
    paid = [cell for cell in cells if matrix.asks_hosted(cell, plan.resolved.hosted)]
    if not paid or plan.options.yes:
        return
    cap = plan.experiment.budget.run_usd
    if sys.stdin.isatty() and console.is_terminal:
        _ask(len(paid), cap, console)
    elif cap is None:
        problem = f"{len(paid)} cells ask hosted models, without a budget"
        raise InvalidInput([Problem("budget", problem, "set budget: {run_usd: N} in the file, or pass --budget N or --yes")])


def _ask(cells: int, cap: float | None, console: Console) -> None:
    budget = "no budget" if cap is None else f"budget ${cap:,.2f}"
    console.print(f"{cells} cells ask hosted models ({budget}). Continue? [y/N] ", end="", markup=False)
    if input().strip().lower() not in ("y", "yes"):
        raise Stopped("nothing was run")
