"""python -m reports: checks of the numbers themselves."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(no_args_is_help=True, add_completion=False, help="Numbers, verdicts and pages from result tables.")


@app.callback()
def _group() -> None:
    """Keeps sub-commands by name while there is one."""


@app.command()
def conformance(archive: Annotated[Path, typer.Option(help="Folder of the djia-2025 archive.")]) -> None:
    """Hold the strategy figures against a published test vector, to the digit; exit code 1 when one differs."""
    from reports import conformance as vector

    try:
        figures = vector.check(archive)
    except (FileNotFoundError, ValueError) as trouble:
        typer.echo(str(trouble), err=True)
        raise typer.Exit(2) from None
    typer.echo("\n".join(map(str, figures)))
    raise typer.Exit(0 if all(figure.agrees for figure in figures) else 1)


if __name__ == "__main__":
    app()
