"""Custom pipelines: a user's async function `module:function`, with the same snapshot, model client and recording."""

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

from agents.errors import PipelineError
from agents.pipeline.roles import final_role
from agents.types import DECISION_STATUSES, Admission, Decision, Lineup, Pipeline, Result
from domain.ratings import RATINGS

if TYPE_CHECKING:
    from agents.inputs.snapshot import Snapshot
    from agents.llms import Clients


async def decide(snapshot: Snapshot, lineup: Lineup, pipeline: Pipeline, admission: Admission, clients: Clients) -> Result:
    """Run the user's function. Raises PipelineError if it cannot be found or returns anything but a Decision or Result."""
    entry = pipeline.entry or ""
    returned = await load(entry)(snapshot, lineup, pipeline, admission, clients)
    return _checked(entry, returned)


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
    return target


def source_hash(entry: str) -> str:
    """sha256 of the module's file: a changed pipeline makes new cells. Raises PipelineError if there is no file."""
    module, _ = _split(entry)
    with _current_folder_importable():
        try:
            spec = importlib.util.find_spec(module)
        except ImportError as error:
            raise PipelineError(f"pipeline.entry {entry!r}: cannot import {module!r}: {error}") from error
    if spec is None or spec.origin is None or not Path(spec.origin).is_file():
        raise PipelineError(f"pipeline.entry {entry!r}: no module {module!r} here; run from the folder that contains it")
    return sha256(Path(spec.origin).read_bytes()).hexdigest()


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
    if isinstance(returned, Decision):
        return _checked(entry, Result(returned, "typed", stage_ratings={final_role(): returned.rating}))
    if not isinstance(returned, Result):
        raise PipelineError(f"pipeline.entry {entry!r} returned {type(returned).__name__}; return a Decision or a Result")
    if returned.decision_status not in DECISION_STATUSES:
        known = ", ".join(DECISION_STATUSES)
        raise PipelineError(f"pipeline.entry {entry!r} returned decision_status {returned.decision_status!r}; known: {known}")
    if returned.decision is not None and returned.decision.rating not in RATINGS:
        raise PipelineError(
            f"pipeline.entry {entry!r} returned rating {returned.decision.rating!r}; known: {', '.join(RATINGS)}"
        )
    return returned
