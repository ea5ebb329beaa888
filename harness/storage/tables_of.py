"""A run's folder with its tables up to date, so that reports can read it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from harness.errors import InvalidInput, Problem, StoreError
from harness.storage import run_folder
from harness.storage.store import RECEIPT, Store


def derived(results: str, name: str) -> str:
    """The address of the run that a person names, after deriving its tables from newer parts. Raises InvalidInput."""
    store = run_folder.find(results, name).store
    if _is_stale(store):
        store.compact()
    return store.folder.url


@contextmanager
def reported(name: str) -> Iterator[None]:
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
