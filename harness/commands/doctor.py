"""`doctor`: check everything that a run needs."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from harness.commands.options import Archive, Broker, Results, Servers, Yes
from harness.json_output import Json, emit

if TYPE_CHECKING:
    from harness.checking.checks import Check
    from harness.checking.resolved import ResolvedRun


def doctor(
    experiment: Annotated[Path | None, typer.Argument(help="Experiment to check; default: only this machine.")] = None,
    servers: Servers = None,
    broker: Broker = None,
    results: Results = "results",
    archive: Archive = None,
    repo: Annotated[
        Path | None, typer.Option(help="Only look for committed results, keys and large files in this git repository.")
    ] = None,
    staged: Annotated[bool, typer.Option(help="With --repo: only what the next commit holds, for a pre-commit hook.")] = False,
    live: Annotated[bool, typer.Option(help="Ask each model twice (hosted: under $0.05 each), after a question.")] = False,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Check Python, Redis, disk, keys, servers, models, prices and sources; show how to fix what fails."""
    from harness.checking import packages

    if foreign := packages.foreign():
        # Nothing else can be checked: the other checks import these packages.
        plain = [
            {"name": f"package {package.name}", "status": "fail", "found": package.found, "fix": packages.FIX}
            for package in foreign
        ]
        emit("doctor/1", {"ready": False, "checks": plain}) if as_json else print("\n".join(map(str, foreign)))
        raise typer.Exit(2)
    from harness.checking import checks, gpu_host, preflight, repository
    from harness.errors import InvalidInput
    from harness.experiment import matrix, spec
    from harness.planning import plan as planning

    if repo is not None:
        _end(repository.checks(repo, only_staged=staged), as_json=as_json)
        return
    wanted, broken = None, []
    try:
        wanted = spec.load(experiment, spec.of_archive(archive)) if experiment else None
    except InvalidInput as error:
        broken = checks.of_problems(error)
    experiment_dir = experiment.parent if experiment else None
    looked = preflight.look(wanted, experiment_dir=experiment_dir, servers_file=servers, results=results, broker=broker)
    if looked.resolved and looked.windows:
        broken += planning.context_checks(
            looked.resolved, matrix.expand(looked.resolved.experiment), planning.Where(results), looked.windows
        )
    lively = _live(looked.resolved, yes) if live and looked.is_ready and looked.resolved else []
    _end((*broken, *looked.checks, *gpu_host.ports(), *lively), as_json=as_json)


def _end(checks: Sequence[Check], *, as_json: bool) -> None:
    """Print the checks; exit code 2 if one failed."""
    is_ready = all(check.status != "fail" for check in checks)
    if as_json:
        emit("doctor/1", {"ready": is_ready, "checks": [check.to_plain() for check in checks]})
    else:
        _show(checks)
    if not is_ready:
        raise typer.Exit(2)


def _live(resolved: ResolvedRun, is_agreed: bool) -> list[Check]:
    """Ask each model twice, if the user agrees."""
    from harness.checking import live

    chosen = live.asked_models(resolved)
    hosted = [model.name for model in chosen if resolved.servers[model.server].is_hosted]
    most = f"at most ${live.MOST_USD} per model, ${live.MOST_USD * len(hosted):.2f} in all"
    question = f"ask {', '.join(hosted)} twice each, {most}?"
    if hosted and not is_agreed and not typer.confirm(question):
        return []
    return live.look(resolved, chosen)


def _show(checks: Sequence[Check]) -> None:
    from rich.console import Console

    from harness.terminal import print_check

    console = Console()
    for check in checks:
        print_check(console, check.status, f"{check.name}: {check.found}", check.fix)
