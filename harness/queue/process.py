"""How a process of ours is tied to the one that started it: it never outlives its parent."""

from __future__ import annotations

import ctypes
import os
import signal
import sys

_PR_SET_PDEATHSIG = 1


def die_with_parent(parent: int, signum: int = signal.SIGKILL) -> None:
    """Ask the kernel to signal this process when its parent ends; call it right after fork, in the child.

    Linux only: elsewhere a child notices a dead parent by `is_orphan`. The kernel watches the thread that forked, so
    children are started from threads that live as long as their process.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signum)
    if is_orphan(parent):
        os.kill(os.getpid(), signum)


def is_orphan(parent: int) -> bool:
    """Whether `parent`, who started this process, is gone."""
    return os.getppid() != parent
