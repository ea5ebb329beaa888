"""`report`: the page of a run, or what changed between two."""

from __future__ import annotations

from typing import Annotated

import typer


def report(
    run: Annotated[str, typer.Argument(metavar="RUN", help="results/EXPERIMENT/RUN_ID, or EXPERIMENT for its latest run.")],
    other: Annotated[str | None, typer.Argument(metavar="[RUN_B]", help="A later run: show what changed since RUN.")] = None,
    results: Annotated[str, typer.Option(help="Folder or s3:// address of all results.")] = "results",
    cases: Annotated[str, typer.Option(help="Case pages to write: a number, all, or none.")] = "500",
    full: Annotated[
        bool, typer.Option("--full", help="With two runs: also list versions, hashes and figures of each.")
    ] = False,
) -> None:
    """Write report.html and the case pages of a run; with two runs, what changed between them."""
    from harness.storage import run_folder
    from reports.answer import run_changes
    from reports.page import render

    most = _most(cases)
    with run_folder.readable_errors(run):
        first = run_folder.with_tables(results, run)
        if other is None:
            print(render.render(first, most))
            return
        second = run_folder.with_tables(results, other)
        changes = run_changes.between(first, second)
        print(run_changes.as_text(changes, full))
        print(render.render_changes(second, changes))


def _most(cases: str) -> int | None:
    from harness.errors import InvalidInput, Problem

    if cases == "all":
        return None
    if cases == "none":
        return 0
    if cases.isdigit():
        return int(cases)
    raise InvalidInput([Problem("--cases", f"{cases!r} is not a number of case pages", "give a number, all, or none")])
