"""The plan of a run, shown before it asks and kept beside it."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from harness.planning import plan as planning
from harness.planning import plan_text, settling

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from rich.console import Console

    from harness.cells import Cell
    from harness.experiment.servers import ServerSpec
    from harness.experiment.spec import Experiment
    from harness.session import Options
    from harness.storage.run_folder import RunFolder


def show(
    experiment: Experiment,
    cells: Sequence[Cell],
    options: Options,
    console: Console,
    specs: Mapping[str, ServerSpec],
    *,
    left: Iterable[Cell] | None = None,
) -> planning.Plan:
    """Forecast these cells and print it; `left`: those that will run, where the run knows."""
    keys = None if left is None else frozenset(cell.cell_key for cell in left)
    where = planning.Where(options.experiment_dir, options.results, options.snapshots)
    made = planning.make(experiment, cells, specs, where, left=keys)
    plan_text.show(made, console)
    return made


def hardware(specs: Mapping[str, ServerSpec]) -> dict[str, dict[str, Any]]:
    """What each self-hosted server's machine costs, for the manifest: reports read nothing but the run folder."""
    return {name: asdict(spec.hardware) for name, spec in specs.items() if not spec.is_hosted}


def keep(run: RunFolder, made: planning.Plan) -> None:
    """So that the bill can be held against it."""
    settling.write(run.store.folder, made, run.run_id)
