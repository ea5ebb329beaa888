"""Client of the embedded model server: start it if necessary, wait for a slot, and hold it."""

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

from agents.llms import embedded_server
from agents.llms.failures import failed
from agents.llms.provider import Slot

_START_WAIT_S = 30.0
_ROOT = Path(__file__).resolve().parents[2]
_SERVER_ENVIRONMENT = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "0"}
"""llama.cpp's OpenMP threads spin for each other: under other load that costs 72 % of the speed, sleeping costs none."""
_log = logging.getLogger(__name__)

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class EmbeddedClient:
    """One process's connection to the machine's embedded server, which lives at least as long as this client is open."""

    def __init__(self, owner: str = "", folder: Path | None = None) -> None:
        """`folder` replaces the machine-wide one, for tests that need a separate server."""
        self._folder = folder or embedded_server.run_folder()
        self._owner = owner or f"process {os.getpid()}"
        self._keep_alive: Connection | None = None
        self._opening = asyncio.Lock()

    @asynccontextmanager
    async def slot(self, model: str, num_ctx: int) -> AsyncIterator[Slot]:
        """The exclusive right to compute on this machine with one model. Raises CallFailed if it cannot be loaded."""
        started = time.perf_counter()
        await self._ensure_server()
        connection = await self._connect(model, num_ctx)
        try:
            grant = await self._granted(connection)
            load_s = grant.get("load_s")
            waited_s = time.perf_counter() - started - (load_s or 0.0)
            yield Slot(waited_s=max(0.0, waited_s), load_s=load_s, url=grant["url"])
        finally:
            await _close(connection)

    async def aclose(self) -> None:
        connection, self._keep_alive = self._keep_alive, None
        if connection is not None:
            await _close(connection)

    async def _ensure_server(self) -> None:
        async with self._opening:
            if self._keep_alive is None or self._keep_alive[0].at_eof():
                await self.aclose()
                self._keep_alive = await self._connect(None, 0)
                await self._keep_alive[0].readline()

    async def _connect(self, model: str | None, num_ctx: int) -> Connection:
        reader, writer = await _open_socket(self._folder)
        message = {"owner": self._owner, "pid": os.getpid(), "model": model, "num_ctx": num_ctx}
        writer.write(json.dumps(message).encode() + b"\n")
        await writer.drain()
        return reader, writer

    async def _granted(self, connection: Connection) -> dict[str, Any]:
        while line := await connection[0].readline():
            message: dict[str, Any] = json.loads(line)
            if "error" in message:
                raise failed("not_found", message["error"], "EmbeddedModel")
            if "url" in message:
                return message
            _log.warning("waiting for the embedded model: %s", message.get("waiting"))
        log = embedded_server.log_path(self._folder)
        raise failed("connection", f"the embedded model server ended unexpectedly; its log: {log}", "EmbeddedModel")


async def _open_socket(folder: Path) -> Connection:
    """Raises CallFailed if no server can be started."""
    deadline = time.monotonic() + _START_WAIT_S
    started = False
    while time.monotonic() < deadline:
        with contextlib.suppress(OSError):
            return await asyncio.open_unix_connection(embedded_server.socket_path(folder))
        if not started:
            await _start(folder)
            started = True
        await asyncio.sleep(0.05)
    raise failed("connection", f"no embedded model server after {_START_WAIT_S:.0f} s; {_holder(folder)}", "EmbeddedModel")


async def _start(folder: Path) -> None:
    folder.mkdir(mode=0o700, exist_ok=True)
    log = os.open(embedded_server.log_path(folder), os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND, 0o600)
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-m",
            embedded_server.__name__,
            str(folder),
            cwd=_ROOT,
            env={**os.environ, **_SERVER_ENVIRONMENT},
            stdin=asyncio.subprocess.DEVNULL,
            stdout=log,
            stderr=log,
        )
        await process.wait()
    finally:
        os.close(log)


def _holder(folder: Path) -> str:
    """The process that holds the lock, and the path of the log."""
    with contextlib.suppress(OSError, ValueError):
        lock = json.loads(embedded_server.lock_path(folder).read_text())
        return f"process {lock['pid']} holds the lock; log: {embedded_server.log_path(folder)}"
    return f"log: {embedded_server.log_path(folder)}"


async def _close(connection: Connection) -> None:
    connection[1].close()
    with contextlib.suppress(OSError):
        await connection[1].wait_closed()
