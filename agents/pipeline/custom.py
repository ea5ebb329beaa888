"""Custom pipelines: a user's async function `module:function`, with the same snapshot, model client and recording."""

from __future__ import annotations

import ast
import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from hashlib import sha256
from inspect import iscoroutinefunction, signature
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agents.decisions.reading import Reading, decision_of
from agents.errors import PipelineError
from agents.pipeline.roles import final_role
from agents.types import DECISION_STATUSES, Decision, Result
from domain.ratings import RATINGS

if TYPE_CHECKING:
    from agents.pipeline.context import Context

_PARAMETERS_0_1_0 = 5


async def decide(ctx: Context) -> Result:
    """Run the user's function. Raises PipelineError if it cannot be found, or returns anything but a Result or a decision."""
    entry = ctx.pipeline.entry or ""
    result = _checked(entry, await load(entry)(ctx))
    return replace(result, reports=result.reports or ctx.reports, parsed={**ctx.parsed, **result.parsed})


def load(entry: str) -> Any:
    """The function behind `module:function`, searched among the installed modules and in the current folder."""
    module, function = _split(entry)
    with _current_folder_importable():
        try:
            target = getattr(importlib.import_module(module), function, None)
        except ImportError as error:
            raise PipelineError(f"pipeline.entry {entry!r}: cannot import {module!r}: {error}") from error
    if not iscoroutinefunction(target):
        raise PipelineError(
            f"pipeline.entry {entry!r}: {function!r} is not an async function of {module}; see docs/own-pipeline.md"
        )
    _check_signature(entry, list(signature(target).parameters))
    return target


def check(entry: str) -> None:
    """Look at the module's file without importing it. Raises PipelineError for an entry that cannot be called."""
    path = _file(entry)
    try:
        tree = ast.parse(path.read_bytes())
    except SyntaxError as error:
        raise PipelineError(f"pipeline.entry {entry!r}: {path.name}, line {error.lineno}: {error.msg}") from error
    for node in tree.body:
        if isinstance(node, ast.AsyncFunctionDef) and node.name == _split(entry)[1]:
            _check_signature(entry, [argument.arg for argument in node.args.args])


def _check_signature(entry: str, parameters: list[str]) -> None:
    """Version 0.1.0 passed five arguments."""
    if len(parameters) == _PARAMETERS_0_1_0:
        raise PipelineError(
            f"pipeline.entry {entry!r} takes {', '.join(parameters)}, as in version 0.1.0; a pipeline now takes one argument: "
            f"async def {_split(entry)[1]}(ctx: Context) -> Result, with ctx.snapshot, ctx.lineup, ctx.pipeline and "
            "`await ctx.ask(role, prompt)` in place of ask(..., admission, clients); see docs/own-pipeline.md"
        )


def source_hash(entry: str) -> str:
    """sha256 of the module's file: a changed pipeline makes new cells. Raises PipelineError if there is no file."""
    return sha256(_file(entry).read_bytes()).hexdigest()


def _file(entry: str) -> Path:
    """The module's file, found without importing the module itself."""
    module, _ = _split(entry)
    with _current_folder_importable():
        try:
            spec = importlib.util.find_spec(module)
        except ImportError as error:
            raise PipelineError(f"pipeline.entry {entry!r}: cannot import {module!r}: {error}") from error
    if spec is None or spec.origin is None or not Path(spec.origin).is_file():
        raise PipelineError(f"pipeline.entry {entry!r}: no module {module!r} here; run from the folder that contains it")
    return Path(spec.origin)


def _split(entry: str) -> tuple[str, str]:
    module, colon, function = entry.partition(":")
    if not (colon and function.isidentifier() and all(part.isidentifier() for part in module.split("."))):
        raise PipelineError(f"pipeline.entry {entry!r}: write module:function, for example experiments.own_pipeline:decide")
    return module, function


@contextmanager
def _current_folder_importable() -> Iterator[None]:
    """The current folder is searched last, independent of how the process was started."""
    folder = str(Path.cwd())
    added = folder not in sys.path
    if added:
        sys.path.append(folder)
    try:
        yield
    finally:
        if added:
            sys.path.remove(folder)


def _checked(entry: str, returned: Any) -> Result:
    if isinstance(returned, Reading):
        if returned.value is not None and "rating" not in returned.value:
            raise PipelineError(
                f"pipeline.entry {entry!r} returned a form without a rating; ask for the decision with DECISION"
            )
        return _checked(entry, _of_decision(decision_of(returned), returned.status))
    if isinstance(returned, Decision):
        return _checked(entry, _of_decision(returned, "typed"))
    if not isinstance(returned, Result):
        kind = type(returned).__name__
        raise PipelineError(f"pipeline.entry {entry!r} returned {kind}; return a Reading of DECISION, a Decision or a Result")
    if returned.decision_status not in DECISION_STATUSES:
        known = ", ".join(DECISION_STATUSES)
        raise PipelineError(f"pipeline.entry {entry!r} returned decision_status {returned.decision_status!r}; known: {known}")
    if returned.decision is not None and returned.decision.rating not in RATINGS:
        raise PipelineError(
            f"pipeline.entry {entry!r} returned rating {returned.decision.rating!r}; known: {', '.join(RATINGS)}"
        )
    return returned


def _of_decision(decision: Decision | None, status: str) -> Result:
    return Result(decision, status, stage_ratings={final_role(): decision.rating if decision else None})
