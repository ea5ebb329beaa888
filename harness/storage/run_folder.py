"""Which folder a run goes into, and which one a person means by RUN."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from harness.cells import Cell, digest_of
from harness.errors import InvalidInput, Problem
from harness.storage.folder import Folder, open_folder
from harness.storage.store import Store

DONE = "done"


@dataclass(frozen=True)
class RunFolder:
    """One run of one experiment, and where its results are."""

    experiment: str
    run_id: str
    store: Store
    is_new: bool = False


def asked_of(cells: Iterable[Cell], digests: Mapping[str, str | None]) -> str:
    """Hash of all that a matrix asks of which weights: the same hash continues the same run."""
    return digest_of([sorted([cell.arm, cell.cell_key] for cell in cells), dict(digests)])


def resolve(results: Folder, experiment: str, asked: str, *, fresh: bool = False) -> RunFolder:
    """The newest run that asks the same, else a new one."""
    for run in () if fresh else runs(results, experiment):
        if run.store.manifest().get("asked") == asked:
            return run
    return _run(results, experiment, _new_id(), is_new=True)


def runs(results: Folder, experiment: str) -> list[RunFolder]:
    """Runs of an experiment, the newest first."""
    names = sorted(results.at(experiment).folders(), reverse=True)
    return [run for name in names if (run := _run(results, experiment, name)).store.folder.exists("manifest.json")]


def find(results: str, name: str) -> RunFolder:
    """The run that a person names: its folder, EXPERIMENT/RUN_ID, or EXPERIMENT for its latest. Raises InvalidInput."""
    folder = open_folder(results)
    plain = name.rstrip("/")
    for root, path in ((folder, plain), *_as_path(plain)):
        experiment, _, run_id = path.rpartition("/")
        if experiment and root.at(path).exists("manifest.json"):
            return _run(root, experiment, run_id)
    if found := runs(folder, plain):
        return found[0]
    known = ", ".join(folder.folders()) or "none yet"
    raise InvalidInput(
        [Problem("RUN", f"no run {name!r} in {folder.url}; known experiments: {known}", "name EXPERIMENT or its folder")]
    )


def _as_path(name: str) -> Iterable[tuple[Folder, str]]:
    head, _, run_id = name.rpartition("/")
    root, _, experiment = head.rpartition("/")
    if experiment:
        yield open_folder(root or "."), f"{experiment}/{run_id}"


def _run(results: Folder, experiment: str, run_id: str, *, is_new: bool = False) -> RunFolder:
    return RunFolder(experiment, run_id, Store(results.at(f"{experiment}/{run_id}")), is_new)


def _new_id() -> str:
    """Sorts by time; a letter pair keeps two runs of one second apart."""
    return f"{dt.datetime.now(dt.UTC):%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:4]}"
