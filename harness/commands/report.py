"""`report`: the page of a run, or what changed between two."""

from __future__ import annotations

from typing import Annotated

import typer

from harness.commands.options import Results, RunName
from harness.json_output import Json, emit


def report(
    run: RunName,
    other: Annotated[str | None, typer.Argument(metavar="[RUN_B]", help="A later run: show what changed since RUN.")] = None,
    results: Results = "results",
    cases: Annotated[str, typer.Option(help="Case pages to write: a number, all, or none.")] = "500",
    full: Annotated[
        bool, typer.Option("--full", help="With two runs: also list versions, hashes and figures of each.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Write report.html and the case pages of a run; with two runs, what changed between them."""
    from dataclasses import asdict

    from harness.storage import run_folder
    from reports.answer import run_changes
    from reports.page import render

    most = _most(cases)
    with run_folder.readable_errors(run):
        first = run_folder.with_tables(results, run)
        if other is None:
            page = render.render(first, most)
            emit("report/1", {"report": page}) if as_json else print(page)
            return
        second = run_folder.with_tables(results, other)
        changes = run_changes.between(first, second)
        page = render.render_changes(second, changes)
        if as_json:
            emit("changes/1", {**asdict(changes), "report": page})
        else:
            print(run_changes.as_text(changes, full))
            print(page)


def _most(cases: str) -> int | None:
    from harness.errors import InvalidInput, Problem

    if cases == "all":
        return None
    if cases == "none":
        return 0
    if cases.isdigit():
        return int(cases)
    raise InvalidInput([Problem("--cases", f"{cases!r} is not a number of case pages", "give a number, all, or none")])
