"""Ties a child process to its parent: it never outlives it."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int, signum: int = signal.SIGKILL) -> None:
    """Ask the kernel to signal this process when its parent ends; call it in the child, right after fork.

    Linux only. The kernel watches the thread that forked, so fork from threads that live as long as their process.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signum)
    if is_orphan(parent):
        os.kill(os.getpid(), signum)


def is_orphan(parent: int) -> bool:
    """Whether the process that started this one is gone."""
    return os.getppid() != parent
