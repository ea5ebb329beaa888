"""The command line: the table of commands, and the exit codes.

0 done; 1 internal error; 2 fix the experiment, the arguments or the environment; 3 stopped early, resumable;
4 a declared gate failed
"""

from __future__ import annotations

import codecs
import contextlib
import gc
import io
import logging
import os
import signal
import sys
import tempfile
import traceback
from importlib import import_module
from pathlib import Path
from typing import Annotated, NoReturn, TextIO

import typer

from harness import json_output

COMMANDS: tuple[tuple[str, str], ...] = (
    ("run", "run"),
    ("find", "find"),
    ("plan", "plan"),
    ("doctor", "doctor"),
    ("check", "check"),
    ("roles", "roles"),
    ("decide", "decide"),
    ("serve", "serve"),
    ("token", "token"),
    ("proxy", "proxy"),
    ("pull", "pull"),
    ("worker", "worker"),
    ("status", "status"),
    ("pause", "control"),
    ("resume", "control"),
    ("stop", "control"),
    ("retry", "control"),
    ("report", "report"),
    ("export", "export"),
    ("replay", "replay"),
    ("reprice", "reprice"),
    ("reconcile", "reconcile"),
    ("meter", "meter"),
    ("snapshot", "snapshot"),
    ("schema", "schema"),
    ("init", "init"),
)
"""command -> its module in harness/commands, with a function of that name or, for subcommands, a Typer `app`."""

SHOWN_FIRST = frozenset({"doctor", "plan", "run", "find", "status", "report", "replay"})
"""Commands that `--help` shows first; it lists the others under "More"."""


def build() -> typer.Typer:
    """Build the application; command modules import little, so that --help is fast."""
    app = typer.Typer(
        name="harness",
        no_args_is_help=True,
        invoke_without_command=True,
        add_completion=False,
        pretty_exceptions_enable=False,
    )
    app.callback()(_harness)
    for name, module in COMMANDS:
        _register(app, name, import_module(f"harness.commands.{module}"))
    return app


def _harness(
    version: Annotated[bool, typer.Option("--version", help="Show the version and exit.", is_eager=True)] = False,
) -> None:
    """Compare hosted and local models over a full TradingAgents-style pipeline: cost, latency, decisions, a verdict."""
    if version:
        from importlib.metadata import version as installed

        typer.echo(installed("tradingagents-harness"))
        raise typer.Exit


def _register(app: typer.Typer, name: str, module: object) -> None:
    sub = getattr(module, "app", None)
    panel = "Commands" if name in SHOWN_FIRST else "More"
    if isinstance(sub, typer.Typer):
        app.add_typer(sub, name=name, rich_help_panel=panel)
    else:
        app.command(name, rich_help_panel=panel)(getattr(module, name))


def main() -> None:
    """Run the command line; never shows a traceback."""
    # Imports and plans create many objects but little garbage: the default threshold costs a tenth of the start time.
    gc.set_threshold(50_000, 20, 20)
    # Arrow's own allocators keep what is freed, which in a run of 10,000 cells is more than its tables.
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
    _accept_any_text(sys.stdout, sys.stderr)
    # SIGTERM acts like Ctrl-C, also before a command installs its own handlers.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    _leave(_run(build()))


_ASCII = {
    **dict.fromkeys("\u2013\u2014\u2212", "-"), "\u2026": "...", "\u2192": "->", "\u2190": "<-", "\u00d7": "x", "\u00b1": "+-",
    "\u2265": ">=", "\u2264": "<=", "\u2248": "~", "\u2022": "*", "\u00b7": "*", **dict.fromkeys("\u2018\u2019", "'"),
    **dict.fromkeys("\u201c\u201d", '"'), **dict.fromkeys("\u2500\u2501", "-"), "\u2502": "|", "\u2714": "ok", "\u2718": "x",
}  # fmt: skip
"""Characters of our output as a terminal without them shows them."""


def _accept_any_text(*streams: TextIO) -> None:
    """Let streams in ascii or latin-1 show characters that they cannot encode by others, so that no output fails."""
    codecs.register_error("harness.shown", _shown)
    for stream in streams:
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="harness.shown")


def _shown(error: UnicodeError) -> tuple[str, int]:
    if not isinstance(error, UnicodeEncodeError):
        raise error
    letters = error.object[error.start : error.end]
    return "".join(_ASCII.get(letter) or letter.encode("ascii", "backslashreplace").decode() for letter in letters), error.end


def _leave(code: int) -> NoReturn:
    """Exit without finalization: a thread of Arrow that still holds a Python object would abort the process (code 134)."""
    logging.shutdown()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(code)


def _run(app: typer.Typer) -> int:
    as_json = json_output.is_asked_for()
    try:
        # Typer prints errors of usage itself, or leaves them to us: as JSON.
        code = app(standalone_mode=not as_json)
        return code if isinstance(code, int) else 0
    except SystemExit as ended:
        return ended.code if isinstance(ended.code, int) else int(bool(ended.code))
    except KeyboardInterrupt:
        return _say("interrupted; the same command continues", 3, "interrupted")
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except Exception as error:  # noqa: BLE001 - the one place where an error becomes an exit code
        return _failed(error)


def _failed(error: Exception) -> int:
    from harness.checking import packages

    if isinstance(error, ImportError | AttributeError) and (foreign := packages.foreign()):
        return _say("\n".join(map(str, foreign)), 2, "foreign_package", packages.FIX)
    from agents import AgentsError
    from harness.errors import HarnessError, InvalidInput

    if isinstance(error, InvalidInput):
        if json_output.is_asked_for():
            text = "\n".join(f"{problem.where}: {problem.what}" for problem in error.problems)
            json_output.emit_error(error.code, text, error.exit_code, [vars(problem) for problem in error.problems])
            return error.exit_code
        count = len(error.problems)
        return _say(f"{count} problem{'s' if count > 1 else ''}:\n{error}", error.exit_code)
    if isinstance(error, HarnessError):
        return _say(str(error), error.exit_code, error.code)
    if isinstance(error, AgentsError):
        return _say(str(error), 2, "pipeline_error")
    if isinstance(error, typer.Abort):
        return _say("a question was not answered", 2, "usage", "pass --yes")
    if usage := _usage_error(error):
        return _say(usage, 2, "usage", "see --help")
    return _say(f"internal error: {type(error).__name__}: {error}\n    please report it with the traceback in {_log(error)}", 1)


def _log(error: Exception) -> Path:
    handle, name = tempfile.mkstemp(prefix="harness-", suffix=".log")
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.writelines(traceback.format_exception(error))
    return Path(name)


def _usage_error(error: Exception) -> str:
    """What is wrong with the arguments; empty for any other error. Typer does not export the class."""
    return str(error.format_message()) if hasattr(error, "format_message") else ""


def _say(text: str, exit_code: int, code: str = "internal_error", fix: str = "") -> int:
    """Print why a command failed: on standard error, or as JSON."""
    if json_output.is_asked_for():
        json_output.emit_error(code, text, exit_code, fix=fix)
    else:
        sys.stderr.write(text.rstrip() + "\n")
    return exit_code
