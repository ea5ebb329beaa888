"""The lender of the embedded models: one turn to compute at a time, first come first served; the last models stay loaded."""

from __future__ import annotations

import asyncio
import os
import time
from collections import deque
from dataclasses import dataclass, field
from typing import Any

SLOTS = 1
"""Requests that compute at once. One: on two cores a second slot only halves the speed of the first."""
_CACHE_MIB = 512
_LOADED = 2
"""Models that stay in the memory; only one of them computes."""


@dataclass
class Turn:
    """One connection that wants to compute."""

    owner: str
    pid: int
    model: str
    num_ctx: int
    granted: asyncio.Event = field(default_factory=asyncio.Event)
    url: str | None = None
    load_s: float | None = None
    error: str | None = None

    @property
    def user(self) -> dict[str, Any]:
        return {"owner": self.owner, "pid": self.pid, "model": self.model}

    @property
    def key(self) -> tuple[str, int]:
        return self.model, self.num_ctx


class Lender:
    """Gives turns in the order of arrival, and keeps the last models loaded so that taking turns costs no loading."""

    def __init__(self) -> None:
        self.computing: list[Turn] = []
        self._waiting: deque[Turn] = deque()
        self._servers: dict[tuple[str, int], Any] = {}
        """Model and context size -> its server, the one used last at the end."""
        self._changed = asyncio.Event()

    def join(self, turn: Turn) -> None:
        self._waiting.append(turn)
        self._changed.set()

    def leave(self, turn: Turn) -> None:
        for queue in (self.computing, self._waiting):
            if turn in queue:
                queue.remove(turn)
        self._changed.set()

    async def run(self) -> None:
        """Grant turns for ever."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            while self._waiting and len(self.computing) < SLOTS:
                turn = self._waiting.popleft()
                self.computing.append(turn)
                await self._grant(turn)

    async def _grant(self, turn: Turn) -> None:
        try:
            turn.url = (await self._server(turn)).listening_address
        except Exception as error:  # noqa: BLE001 - told to the one who asked
            turn.error = str(error) or type(error).__name__
        turn.granted.set()

    async def _server(self, turn: Turn) -> Any:
        server = self._servers.pop(turn.key, None)
        if server is None:
            started = time.perf_counter()
            while len(self._servers) >= _LOADED:
                del self._servers[next(iter(self._servers))]
            server = await asyncio.to_thread(start_model, turn.model, turn.num_ctx)
            turn.load_s = time.perf_counter() - started
        self._servers[turn.key] = server
        return server


def start_model(name: str, num_ctx: int) -> Any:
    """llama.cpp's own HTTP server on a free loopback port. Raises Unsupported for weights that are missing or wrong."""
    # Threads that spin while they wait for each other lose a busy machine: 8 tokens/s instead of 64 beside one other load.
    os.environ["OMP_WAIT_POLICY"] = "passive"
    import xllamacpp

    from agents.llms.weights import weight_file, weights_of

    params = xllamacpp.CommonParams()
    params.model.path = str(weight_file(name))
    # Without an alias the model's name would be an absolute path; n_ctx is divided by the slots.
    params.model_alias = {name}
    params.n_parallel, params.n_ctx = SLOTS, SLOTS * num_ctx
    # A prompt is computed by all cores, an answer by one: for a token of so small a model, threads wait longer than they work.
    params.cpuparams_batch.n_threads, params.cpuparams.n_threads = _cores(), 1
    params.hostnames, params.port = ["127.0.0.1"], 0
    # Windowed attention keeps its whole window, so that a prompt's start comes from the cache: a third less to compute.
    params.swa_full = True
    params.cache_ram_mib, params.ui, params.endpoint_slots = _CACHE_MIB, False, False
    if template := weights_of(name).chat_template:
        params.chat_template = template
    return xllamacpp.Server(params)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
