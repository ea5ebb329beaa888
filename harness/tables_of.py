"""A run's folder with its tables up to date, so that reports can read it."""

from __future__ import annotations

from harness import run_folder
from harness.store import RECEIPT, Store


def derived(results: str, name: str) -> str:
    """The address of the run that a person names, after deriving its tables from newer parts. Raises Unmended."""
    store = run_folder.find(results, name).store
    if _is_stale(store):
        store.compact()
    return store.folder.url


def _is_stale(store: Store) -> bool:
    """Whether a receipt was written after the table of cells."""
    written = [at for file, at in store.parts.files().items() if file.endswith(RECEIPT)]
    derived_at = store.folder.files().get("cells.parquet")
    return bool(written) and (derived_at is None or max(written) >= derived_at)
