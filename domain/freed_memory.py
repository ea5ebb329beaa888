"""Return freed memory to the operating system, which glibc by default keeps for later."""

from __future__ import annotations

import contextlib
import ctypes

_M_TRIM_THRESHOLD, _M_ARENA_MAX = -1, -8
"""Parameters of mallopt(3)."""
_MOST_KEPT_BYTES = 128 << 10


def return_freed_memory() -> None:
    """Return what this process has freed, and from now on what it frees; does nothing without glibc.

    Tables of a big run are read in pieces, and glibc raises its thresholds with each piece: without this, the process
    keeps several times the largest one. Allocating becomes a little slower.
    """
    with contextlib.suppress(AttributeError, OSError):
        libc = ctypes.CDLL(None)
        libc.mallopt(_M_TRIM_THRESHOLD, _MOST_KEPT_BYTES)
        libc.mallopt(_M_ARENA_MAX, 1)
        libc.malloc_trim(0)
