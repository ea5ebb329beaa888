"""A user's side of the embedded model server: start it when nobody has, wait for a turn, hold it open."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from agents.llms import embedded
from agents.llms.failures import failed
from agents.llms.provider import Turn

_START_WAIT_S = 30.0
_ROOT = Path(__file__).resolve().parents[2]
_POLITE = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0"}
"""llama.cpp's OpenMP threads spin for each other: beside any other load that cost 72 % of the speed, sleeping costs none."""
_log = logging.getLogger(__name__)

Line = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class Lease:
    """One process's share in the machine's embedded model; the server lives at least as long as the lease is open."""

    def __init__(self, owner: str = "", folder: Path | None = None) -> None:
        """`folder` stands in for the machine's own, for those who must not meet others."""
        self._folder = folder or embedded.room()
        self._owner = owner or f"process {os.getpid()}"
        self._alive: Line | None = None
        self._opening = asyncio.Lock()

    @asynccontextmanager
    async def turn(self, model: str, num_ctx: int) -> AsyncIterator[Turn]:
        """Leave to compute with one model, alone on this machine. Raises CallFailed when the model cannot be loaded."""
        started = time.perf_counter()
        await self._keep_alive()
        line = await self._ask(model, num_ctx)
        try:
            told = await self._granted(line)
            load_s = told.get("load_s")
            waited_s = time.perf_counter() - started - (load_s or 0.0)
            yield Turn(waited_s=max(0.0, waited_s), load_s=load_s, url=told["url"])
        finally:
            await _hang_up(line)

    async def aclose(self) -> None:
        line, self._alive = self._alive, None
        if line is not None:
            await _hang_up(line)

    async def _keep_alive(self) -> None:
        async with self._opening:
            if self._alive is None or self._alive[0].at_eof():
                await self.aclose()
                self._alive = await self._ask(None, 0)
                await self._alive[0].readline()

    async def _ask(self, model: str | None, num_ctx: int) -> Line:
        reader, writer = await _connect(self._folder)
        asked = {"owner": self._owner, "pid": os.getpid(), "model": model, "num_ctx": num_ctx}
        writer.write(json.dumps(asked).encode() + b"\n")
        await writer.drain()
        return reader, writer

    async def _granted(self, line: Line) -> dict[str, Any]:
        while told := await line[0].readline():
            message: dict[str, Any] = json.loads(told)
            if "error" in message:
                raise failed("not_found", message["error"], "EmbeddedModel")
            if "url" in message:
                return message
            _log.warning("waiting for the embedded model: %s", message.get("waiting"))
        raise failed(
            "connection", f"the embedded model server went away; its log: {embedded.log_path(self._folder)}", "EmbeddedModel"
        )


async def _connect(folder: Path) -> Line:
    """Raises CallFailed when no server can be started."""
    deadline = time.monotonic() + _START_WAIT_S
    started = False
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            return await asyncio.open_unix_connection(embedded.socket_path(folder))
        if not started:
            await _start(folder)
            started = True
        await asyncio.sleep(0.05)
    raise failed("connection", f"no embedded model server after {_START_WAIT_S:.0f} s; {_holder(folder)}", "EmbeddedModel")


async def _start(folder: Path) -> None:
    folder.mkdir(mode=0o700, exist_ok=True)
    log = os.open(embedded.log_path(folder), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            embedded.__name__,
            str(folder),
            cwd=_ROOT,
            env={**os.environ, **_POLITE},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        await process.wait()
    finally:
        os.close(log)


def _holder(folder: Path) -> str:
    """Who holds the lock, and where the log is."""
    with contextlib.suppress(OSError, ValueError):
        held = json.loads(embedded.lock_path(folder).read_text())
        return f"process {held['pid']} holds the lock; log: {embedded.log_path(folder)}"
    return f"log: {embedded.log_path(folder)}"


async def _hang_up(line: Line) -> None:
    line[1].close()
    with contextlib.suppress(OSError):
        await line[1].wait_closed()
