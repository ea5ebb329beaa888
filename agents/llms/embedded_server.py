"""The one embedded model server of the machine: a separate process that serves its users one after another.

The first user starts it; it lives while any connection to its Unix socket is open, so it ends with its last user, even if
that one crashes. A connection sends one JSON line, {owner, pid, model, num_ctx}; it receives {waiting} lines that name the
current user, then {url, load_s} or {error}, and holds its slot until it closes. A connection without a model only keeps the
process alive. A flock prevents a second server: two that compute at the same time are twenty times slower.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import sys
import time
from collections import deque
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

PROTOCOL = 2
"""Version of the socket protocol, part of the socket's name: different versions must not talk to each other."""
LINGER_S = 1.0
FIRST_USER_S = 15.0
SLOTS = 1
"""Requests that compute at once. On two cores a second slot only halves the speed of the first."""
_CACHE_MIB = 512
_MAX_LOADED = 2
"""Models kept in memory; only one of them computes."""
_LOCK_WAIT_S = 10.0
_FIRST_NOTICE_S = 2.0
_NOTICE_EVERY_S = 30.0


def run_folder() -> Path:
    """This user's folder for the lock, the socket and the log; the same for every process of the machine."""
    return Path("/tmp") / f"tradingagents-harness-{os.getuid()}"


def socket_path(folder: Path) -> Path:
    return folder / f"embedded.{PROTOCOL}.sock"


def lock_path(folder: Path) -> Path:
    return folder / "embedded.lock"


def log_path(folder: Path) -> Path:
    return folder / "embedded.log"


@dataclass
class SlotRequest:
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


class SlotScheduler:
    """Grants slots in order of arrival and keeps recent models loaded, so that alternating users need no reload."""

    def __init__(self) -> None:
        self.computing: list[SlotRequest] = []
        self._waiting: deque[SlotRequest] = deque()
        self._servers: dict[tuple[str, int], Any] = {}
        """(model, context size) -> its llama.cpp server, least recently used first."""
        self._changed = asyncio.Event()

    def join(self, request: SlotRequest) -> None:
        self._waiting.append(request)
        self._changed.set()

    def leave(self, request: SlotRequest) -> None:
        for queue in (self.computing, self._waiting):
            if request in queue:
                queue.remove(request)
        self._changed.set()

    async def run(self) -> None:
        """Grant slots until cancelled."""
        while True:
            await self._changed.wait()
            self._changed.clear()
            while self._waiting and len(self.computing) < SLOTS:
                request = self._waiting.popleft()
                self.computing.append(request)
                await self._grant(request)

    async def _grant(self, request: SlotRequest) -> None:
        try:
            request.url = (await self._server(request)).listening_address
        except Exception as error:  # noqa: BLE001 - reported to the user of the connection
            request.error = str(error) or type(error).__name__
        request.granted.set()

    async def _server(self, request: SlotRequest) -> Any:
        server = self._servers.pop(request.key, None)
        if server is None:
            started = time.perf_counter()
            while len(self._servers) >= _MAX_LOADED:
                del self._servers[next(iter(self._servers))]
            server = await asyncio.to_thread(start_model, request.model, request.num_ctx)
            request.load_s = time.perf_counter() - started
        self._servers[request.key] = server
        return server


class SocketServer:
    """Serves the users' connections and ends after the last one has closed."""

    def __init__(self) -> None:
        self._scheduler = SlotScheduler()
        self._users = 0
        self._deadline = time.monotonic() + FIRST_USER_S

    async def serve(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        scheduling = asyncio.create_task(self._scheduler.run())
        server = await asyncio.start_unix_server(self._connected, path)
        try:
            while self._users or time.monotonic() < self._deadline:  # noqa: ASYNC110 - waits for a deadline
                await asyncio.sleep(0.1)
        finally:
            path.unlink(missing_ok=True)
            server.close()
            scheduling.cancel()

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._users += 1
        try:
            await self._serve_user(reader, writer)
        except (OSError, ValueError, KeyError):
            pass
        finally:
            self._users -= 1
            self._deadline = time.monotonic() + LINGER_S
            writer.close()

    async def _serve_user(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        message = json.loads(await reader.readline())
        if not message.get("model"):
            await _send_line(writer, {"pid": os.getpid()})
            await reader.read()
            return
        request = SlotRequest(str(message["owner"]), int(message["pid"]), str(message["model"]), int(message["num_ctx"]))
        self._scheduler.join(request)
        closed = asyncio.create_task(reader.read())
        try:
            await self._wait(request, closed, writer)
        finally:
            self._scheduler.leave(request)
            closed.cancel()

    async def _wait(self, request: SlotRequest, closed: asyncio.Task[bytes], writer: asyncio.StreamWriter) -> None:
        granted, notice_s = asyncio.create_task(request.granted.wait()), _FIRST_NOTICE_S
        try:
            while not granted.done() and not closed.done():
                done, _ = await asyncio.wait({granted, closed}, timeout=notice_s, return_when=asyncio.FIRST_COMPLETED)
                if not done:
                    await _send_line(writer, {"waiting": [active.user for active in self._scheduler.computing]})
                    notice_s = _NOTICE_EVERY_S
        finally:
            granted.cancel()
        if request.error is not None:
            await _send_line(writer, {"error": request.error})
        elif not closed.done():
            await _send_line(writer, {"url": request.url, "load_s": request.load_s})
            await closed


async def _send_line(writer: asyncio.StreamWriter, line: dict[str, Any]) -> None:
    writer.write(json.dumps(line).encode() + b"\n")
    await writer.drain()


def start_model(name: str, num_ctx: int) -> Any:
    """Start llama.cpp's HTTP server on a free loopback port. Raises Unsupported for missing or wrong weights."""
    # Threads that spin while they wait for each other slow down a busy machine: 8 tokens/s instead of 64 under other load.
    os.environ["OMP_WAIT_POLICY"] = "passive"
    import xllamacpp

    from agents.llms.weights import weight_file, weights_of

    params = xllamacpp.CommonParams()
    params.model.path = str(weight_file(name))
    # Without an alias the model's name would be an absolute path; n_ctx is divided by the slots.
    params.model_alias = {name}
    params.n_parallel, params.n_ctx = SLOTS, SLOTS * num_ctx
    # All cores process a prompt and one writes the answer: for so small a model, threads wait longer than they work.
    params.cpuparams_batch.n_threads, params.cpuparams.n_threads = _cores(), 1
    params.hostnames, params.port = ["127.0.0.1"], 0
    # Keep the whole attention window, so that the start of a prompt comes from the cache: a third less to compute.
    params.swa_full = True
    params.cache_ram_mib, params.ui, params.endpoint_slots = _CACHE_MIB, False, False
    if template := weights_of(name).chat_template:
        params.chat_template = template
    return xllamacpp.Server(params)


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _lock(folder: Path) -> int | None:
    """File descriptor of the lock, held until this process ends; None if another process has it."""
    handle = os.open(lock_path(folder), os.O_RDWR | os.O_CREAT, 0o600)
    deadline = time.monotonic() + _LOCK_WAIT_S
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except OSError:
            if time.monotonic() > deadline:
                return None
            time.sleep(0.05)
    os.ftruncate(handle, 0)
    os.write(handle, json.dumps({"pid": os.getpid(), "since": time.time()}).encode())
    return handle


def _detach() -> None:
    """Leave the parent process, so that it has no child to wait for."""
    if os.fork():
        os._exit(0)
    os.setsid()


def main(folder: Path) -> None:
    """Serve until the last user has gone; if another server keeps the lock, exit."""
    _detach()
    if _lock(folder) is None:
        return
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(SocketServer().serve(socket_path(folder)))
    # Exit without joining llama.cpp's threads: there is nothing to write, and a hanging thread must not keep the lock.
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
