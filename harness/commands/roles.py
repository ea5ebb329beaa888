"""`roles suggest`: rules for the roles of an attached program, from the prompts that a run recorded."""

from __future__ import annotations

import typer

from harness.commands.options import Results, RunName
from harness.json_output import Json, emit

app = typer.Typer(no_args_is_help=True, help="Rules that name the roles of an attached program.")


@app.callback()
def _roles() -> None:
    """Rules that name the roles of an attached program."""


@app.command()
def suggest(
    run: RunName,
    results: Results = "results",
    as_json: Json = False,
) -> None:
    """Propose rules for the calls that no rule named, as YAML for pipeline.roles."""
    from dataclasses import asdict

    from harness.experiment.attached import OTHER
    from harness.gateway import suggesting
    from harness.storage import run_folder

    store = run_folder.find(results, run).store
    calls, messages = store.rows_of("calls"), store.rows_of("messages")
    proposed = suggesting.suggestions(calls, messages)
    if as_json:
        named = sum(call["role"] != OTHER for call in calls)
        emit("roles-suggest/1", {"calls": len(calls), "named_calls": named, "rules": list(map(asdict, proposed))})
    else:
        print(suggesting.as_yaml(proposed, calls), end="")
