"""A user's own pipeline: an async function named `module:function`, run with the same snapshot, door and recording."""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from inspect import iscoroutinefunction
from pathlib import Path
from typing import TYPE_CHECKING, Any

from agents.contract.gate import Gate
from agents.contract.lineup import Lineup
from agents.contract.pipeline import Pipeline
from agents.contract.result import DECISION_STATUSES, Decision, Result
from agents.errors import PipelineError
from domain.ratings import RATINGS

if TYPE_CHECKING:
    from agents.inputs.snapshot import Snapshot
    from agents.llms import Clients


async def decide(snapshot: Snapshot, lineup: Lineup, pipeline: Pipeline, gate: Gate, clients: Clients) -> Result:
    """What the user's function made of the case. Raises PipelineError when it cannot be found or returns something else."""
    entry = pipeline.entry or ""
    made = await load(entry)(snapshot, lineup, pipeline, gate, clients)
    return _checked(entry, made)


def load(entry: str) -> Any:
    """The function behind `module:function`, looked up beside the installed modules in the current folder too."""
    module, function = _split(entry)
    with _here():
        try:
            found = getattr(importlib.import_module(module), function, None)
        except ImportError as error:
            raise PipelineError(f"pipeline.entry {entry!r}: cannot import {module!r}: {error}") from error
    if not iscoroutinefunction(found):
        raise PipelineError(
            f"pipeline.entry {entry!r}: {function!r} is no async function of {module}; see docs/own-pipeline.md"
        )
    return found


def source_hash(entry: str) -> str:
    """sha256 of the module's file, so that another version of it makes other cells; raises PipelineError without one."""
    module, _ = _split(entry)
    with _here():
        try:
            spec = importlib.util.find_spec(module)
        except ImportError as error:
            raise PipelineError(f"pipeline.entry {entry!r}: cannot import {module!r}: {error}") from error
    if spec is None or spec.origin is None or not Path(spec.origin).is_file():
        raise PipelineError(f"pipeline.entry {entry!r}: no module {module!r} here; run from the folder that holds it")
    return sha256(Path(spec.origin).read_bytes()).hexdigest()


def _split(entry: str) -> tuple[str, str]:
    module, colon, function = entry.partition(":")
    if not (colon and function.isidentifier() and all(part.isidentifier() for part in module.split("."))):
        raise PipelineError(f"pipeline.entry {entry!r}: write module:function, for example experiments.own_pipeline:decide")
    return module, function


@contextmanager
def _here() -> Iterator[None]:
    """The current folder is searched last, whichever way the process was started."""
    folder = str(Path.cwd())
    added = folder not in sys.path
    if added:
        sys.path.append(folder)
    try:
        yield
    finally:
        if added:
            sys.path.remove(folder)


def _checked(entry: str, made: Any) -> Result:
    if isinstance(made, Decision):
        made = Result(made, "typed", stage_ratings={"portfolio_manager": made.rating})
    if not isinstance(made, Result):
        raise PipelineError(f"pipeline.entry {entry!r} returned {type(made).__name__}; return a Decision or a Result")
    if made.decision_status not in DECISION_STATUSES:
        known = ", ".join(DECISION_STATUSES)
        raise PipelineError(f"pipeline.entry {entry!r} returned decision_status {made.decision_status!r}; known: {known}")
    if made.decision is not None and made.decision.rating not in RATINGS:
        raise PipelineError(f"pipeline.entry {entry!r} returned rating {made.decision.rating!r}; known: {', '.join(RATINGS)}")
    return made
