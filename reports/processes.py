"""Work side by side in fresh processes: where there is enough of it, and never by running the caller's own script again."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    from concurrent.futures import Future

    from reports.load import Run

T = TypeVar("T")


def side_by_side(work: Callable[..., T], jobs: Sequence[tuple[Any, ...]], most: int | None = None) -> Iterator[T]:
    """work(*job) for each job, in their order, in as many processes as there are cores."""
    import multiprocessing
    from concurrent.futures import ProcessPoolExecutor

    # Processes are started afresh: forking one that holds pyarrow's threads can hang.
    fresh = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(min(most or os.cpu_count() or 1, len(jobs)), mp_context=fresh) as pool:
        with _main_hidden():
            running: list[Future[T]] = [pool.submit(work, *job) for job in jobs]
        for one in running:
            yield one.result()


def is_local(run: Run) -> bool:
    """Whether other processes of this machine can open the run by its path."""
    from pyarrow import fs

    return isinstance(run.filesystem, fs.LocalFileSystem)


@contextmanager
def _main_hidden() -> Iterator[None]:
    """A fresh process would import __main__: a script that renders a report outside `if __name__ == ...` would start over."""
    main = sys.modules["__main__"]
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
