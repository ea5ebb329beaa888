"""The folder of a run: which one a run goes into, and which one a person means by RUN."""

from __future__ import annotations

import datetime as dt
import re
import uuid
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace

from harness.cells import Cell, digest_of
from harness.errors import InvalidInput, Problem, StoreError
from harness.storage import version_0_1_0
from harness.storage.folder import Folder, open_folder
from harness.storage.store import RECEIPT, Store

DONE = "done"


@dataclass(frozen=True)
class RunFolder:
    """One run of one experiment, and its results."""

    experiment: str
    run_id: str
    store: Store
    is_new: bool = False
    made_by_0_1_0: bool = False
    """Whether its cells have the ids of version 0.1.0."""


def asked_of(cells: Iterable[Cell], digests: Mapping[str, str | None], purpose: str = "") -> str:
    """Hash of the matrix and the model digests: the same hash continues the same run. `purpose`: set by commands other than
    `run`, which do not share its folders."""
    asked = [sorted([cell.arm, cell.cell_key] for cell in cells), dict(digests)]
    return digest_of([*asked, purpose] if purpose else asked)


def resolve(
    results: Folder,
    experiment: str,
    cells: Sequence[Cell],
    digests: Mapping[str, str | None],
    *,
    fresh: bool = False,
    purpose: str = "",
) -> RunFolder:
    """The newest run of the same matrix and purpose, else a new one: in the folder of a command that was killed before it
    had started any cell, if there is one."""
    matrix_hash, old_matrix_hash = asked_of(cells, digests, purpose), None
    for run in () if fresh else runs(results, experiment):
        manifest = run.store.manifest()
        if manifest.get("asked") == matrix_hash:
            return run
        if purpose:
            continue
        if version_0_1_0.made(manifest) and old_matrix_hash is None:
            old_cells = version_0_1_0.renamed(cells)
            old_matrix_hash = asked_of(old_cells, digests) if old_cells else ""
        if version_0_1_0.made(manifest) and manifest.get("asked") == old_matrix_hash:
            return replace(run, made_by_0_1_0=True)
    return _run(results, experiment, _never_started(results, experiment) or _new_id(), is_new=True)


def runs(results: Folder, experiment: str) -> list[RunFolder]:
    """Runs of an experiment, newest first; then the months of a service or proxy, whose ids are no times."""
    names = sorted(results.at(experiment).folders(), key=lambda name: (bool(_ID.fullmatch(name)), name), reverse=True)
    return [run for name in names if (run := _run(results, experiment, name)).store.folder.exists("manifest.json")]


def find(results: str, name: str) -> RunFolder:
    """The run named by its folder, by EXPERIMENT/RUN_ID, or by EXPERIMENT for the latest. Raises InvalidInput."""
    folder = open_folder(results)
    plain = name.rstrip("/")
    for root, path in ((folder, plain), *_as_path(plain)):
        experiment, _, run_id = path.rpartition("/")
        if experiment and root.at(path).exists("manifest.json"):
            return _run(root, experiment, run_id)
    if latest := runs(folder, plain):
        return latest[0]
    experiments = ", ".join(folder.folders()) or "none yet"
    raise InvalidInput(
        [Problem("RUN", f"no run {name!r} in {folder.url}; known experiments: {experiments}", "name EXPERIMENT or its folder")]
    )


def earlier(results: str, name: str, run_id: str) -> RunFolder:
    """The run that another one is compared with: as `find`, and for EXPERIMENT the latest run but this. Raises InvalidInput."""
    others = [run for run in runs(open_folder(results), name.rstrip("/")) if run.run_id != run_id]
    return others[0] if others else find(results, name)


def _as_path(name: str) -> Iterable[tuple[Folder, str]]:
    head, _, run_id = name.rpartition("/")
    root, _, experiment = head.rpartition("/")
    if experiment:
        yield open_folder(root or "."), f"{experiment}/{run_id}"


def _run(results: Folder, experiment: str, run_id: str, *, is_new: bool = False) -> RunFolder:
    return RunFolder(experiment, run_id, Store(results.at(f"{experiment}/{run_id}")), is_new)


def _new_id() -> str:
    """Sorts by time; random letters distinguish runs of the same second."""
    return f"{dt.datetime.now(dt.UTC):%Y%m%d-%H%M%S}-{uuid.uuid4().hex[:4]}"


_ID = re.compile(r"\d{8}-\d{6}-[0-9a-f]{4}")


def _never_started(results: Folder, experiment: str) -> str | None:
    """The newest id of a run that was opened on this disk but has no manifest and no result but those of earlier runs."""
    if results.local is None:  # the experiment's lock may be unknown there: another command may just be opening that run
        return None
    names = (name for name in sorted(results.at(experiment).folders(), reverse=True) if _ID.fullmatch(name))
    return next((name for name in names if _has_nothing(Store(results.at(f"{experiment}/{name}")), name)), None)


def _has_nothing(store: Store, run_id: str) -> bool:
    return not store.folder.exists("manifest.json") and all(row["run_id"] != run_id for row in store.receipts().values())


def with_tables(results: str, name: str) -> str:
    """The address of the named run, with tables derived from its newest parts. Raises InvalidInput."""
    store = find(results, name).store
    if is_stale(store):
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
        raise StoreError(f"cannot read or write the folder of {name}: {error}; fix the permissions or free space") from error


def is_stale(store: Store) -> bool:
    """Whether a receipt was written after the table of cells."""
    written = [at for file, at in store.parts.files().items() if file.endswith(RECEIPT)]
    derived_at = store.folder.files().get("cells.parquet")
    return bool(written) and (derived_at is None or max(written) >= derived_at)
