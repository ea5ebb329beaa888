"""`export`: a run in other formats."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.commands.options import Results, RunName


def export(
    run: RunName,
    format: Annotated[
        str, typer.Option(help="csv, json, junit, md (for a pull request), decision (one page to sign), or zip.")
    ] = "json",
    table: Annotated[str, typer.Option(help="For csv: cells, calls, messages, outcomes, daily, or endpoints.")] = "cells",
    output: Annotated[
        Path | None, typer.Option(help="Write to this file instead of printing; zip: default RUN_ID.zip.")
    ] = None,
    results: Results = "results",
) -> None:
    """Export a run as CSV, JSON, JUnit, Markdown, or its report as one zip file."""
    from harness.errors import InvalidInput, Problem
    from harness.storage import run_folder
    from reports import exports as exporting

    with run_folder.readable_errors(run):
        folder = run_folder.with_tables(results, run)
        if format == "zip":
            print(_packed(folder, output))
            return
        try:
            text = exporting.export(folder, format, table)
        except exporting.UnknownExport as error:
            raise InvalidInput([Problem("--format or --table", str(error), "choose a known one")]) from error
        if output is not None:
            output.write_text(text, encoding="utf-8")
    print(text if output is None else output, end="" if output is None else "\n")


def _packed(folder: str, output: Path | None) -> Path:
    from reports.format import slug
    from reports.page import render

    target = output or Path(f"{slug(folder.rstrip('/').rpartition('/')[2])}.zip")
    render.pack(folder, target)
    return target
