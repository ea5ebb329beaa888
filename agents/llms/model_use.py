"""Which processes of this machine use a model that a server keeps loaded: the last one leaves it as the first one found it.

A file per server and model, locked in shared mode by every user. It holds the state that the first user found.
"""

from __future__ import annotations

import asyncio
import fcntl
import json
import os
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from hashlib import sha256
from typing import Any

from agents.llms.embedded_server import run_folder


@dataclass(frozen=True)
class InitialState:
    """How the first of the present users found the model."""

    was_loaded: bool
    keep_alive: int | str | None
    """Remaining keep-alive: seconds, or -1 for no limit."""


class ModelUse:
    """One use of a model, from `begin` to `end`."""

    def __init__(self, url: str, model: str) -> None:
        self._path = run_folder() / f"{sha256(f'{url} {model}'.encode()).hexdigest()[:16]}.use"
        self._handle: int | None = None

    async def begin(self, observe: Callable[[], Awaitable[InitialState]]) -> InitialState:
        """Register the use. The state is observed by the first user and read from the file by the others."""
        self._path.parent.mkdir(mode=0o700, exist_ok=True)
        self._handle = os.open(self._path, os.O_RDWR | os.O_CREAT, 0o600)
        is_first = self._try_lock_alone()
        if is_first:
            state = await observe()
            os.ftruncate(self._handle, 0)
            os.pwrite(self._handle, json.dumps([state.was_loaded, state.keep_alive]).encode(), 0)
        # Waits only while the first user observes, or the last one unloads.
        await asyncio.to_thread(fcntl.flock, self._handle, fcntl.LOCK_SH)
        return state if is_first else self._recorded() or await observe()

    def is_last(self) -> bool:
        """Whether no other process uses the model. Then new users wait for `end`."""
        return self._handle is None or self._try_lock_alone()

    def last_request(self) -> float:
        """Unix time of the last request of those that ended their use, 0 if there is none."""
        return os.stat(self._path).st_mtime if self._path.exists() else 0.0

    def end(self, last_request: float) -> None:
        """End the use; `last_request` is the Unix time of its last request."""
        handle, self._handle = self._handle, None
        if handle is not None:
            latest = max(last_request, self.last_request())
            os.utime(self._path, (latest, latest))
            os.close(handle)

    def _try_lock_alone(self) -> bool:
        assert self._handle is not None
        try:
            fcntl.flock(self._handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _recorded(self) -> InitialState | None:
        assert self._handle is not None
        try:
            written: Any = json.loads(os.pread(self._handle, 1000, 0))
            return InitialState(bool(written[0]), written[1])
        except (ValueError, IndexError, TypeError):
            return None
