"""`token`: who may use the HTTP service."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from harness.commands.options import Results, State

app = typer.Typer(no_args_is_help=True, help="Create, list and revoke tokens of the HTTP service.")


@app.command()
def create(
    scope: Annotated[list[str], typer.Option(help="read: see all jobs; submit: submit, see and stop its own. Repeat it.")],
    name: Annotated[str | None, typer.Option(help="Name in job lists and the audit log; default: a new one.")] = None,
    results: Results = "results",
    state: State = None,
) -> None:
    """Create a token and print it; only its hash is kept."""
    import secrets

    from harness.service.auth import Audit, TokenStore

    folder = _folder(results, state)
    scopes = frozenset(part.strip() for text in scope for part in text.split(","))
    name = name or f"{'-'.join(sorted(scopes))}-{secrets.token_hex(3)}"
    token = TokenStore(folder).create(name, scopes)
    Audit(folder / "audit.jsonl").write("command line", "token", name=name, scopes=sorted(scopes))
    typer.echo(token)


@app.command("list")
def list_tokens(results: Results = "results", state: State = None) -> None:
    """List names, scopes and dates of all tokens."""
    from harness.service.auth import TokenStore

    for entry in TokenStore(_folder(results, state)).listed():
        typer.echo(f"{entry['name']}  {','.join(entry['scopes'])}  {entry['created_at']}")


@app.command()
def revoke(
    name: Annotated[str, typer.Argument(help="Name of the token.")], results: Results = "results", state: State = None
) -> None:
    """Revoke a token; the service refuses it from then on."""
    from harness.errors import InvalidInput, Problem
    from harness.service.auth import Audit, TokenStore

    folder = _folder(results, state)
    if not TokenStore(folder).revoke(name):
        raise InvalidInput([Problem("NAME", f"no token {name!r} in {folder}", "`token list` shows them")])
    Audit(folder / "audit.jsonl").write("command line", "revoke", name=name)


def _folder(results: str, state: Path | None) -> Path:
    from harness.service.service import ServiceOptions

    return ServiceOptions(Path(), results=results, state=state).state_folder
