"""The folder of a run: which one a run goes into, and which one a person means by RUN."""

from __future__ import annotations

import datetime as dt
import uuid
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass

from harness.cells import Cell, digest_of
from harness.errors import InvalidInput, Problem, StoreError
from harness.storage.folder import Folder, open_folder
from harness.storage.store import RECEIPT, Store

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


def with_tables(results: str, name: str) -> str:
    """The address of the run that a person names, after deriving its tables from newer parts. Raises InvalidInput."""
    store = find(results, name).store
    if _is_stale(store):
        store.compact()
    return store.folder.url


@contextmanager
def readable_errors(name: str) -> Iterator[None]:
    """Turn errors of reading a run or writing into its folder into messages for the user."""
    from reports import NoRun

    try:
        yield
    except NoRun as error:
        raise InvalidInput([Problem(name, str(error), "run the experiment, or name another folder")]) from error
    except OSError as error:
        raise StoreError(f"cannot read or write the folder of {name}: {error}; set the rights or free space") from error


def _is_stale(store: Store) -> bool:
    """Whether a receipt was written after the table of cells."""
    written = [at for file, at in store.parts.files().items() if file.endswith(RECEIPT)]
    derived_at = store.folder.files().get("cells.parquet")
    return bool(written) and (derived_at is None or max(written) >= derived_at)
