"""The machine's one embedded model server: a process of its own that lends its model to one user after another.

Whoever needs it first starts it; it lives while any connection to its Unix socket is open, so that it goes away with its
last user, however that one ends. A connection sends one JSON line, {owner, pid, model, num_ctx}; it gets {waiting} lines
that name who computes, then {url, load_s} or {error}. It holds its turn until it closes. A connection without a model only
keeps the process alive. A flock keeps a second such process away: two would compute side by side twenty times slower.
"""

from __future__ import annotations

import asyncio
import contextlib
import fcntl
import json
import os
import sys
import time
from pathlib import Path
from typing import Any

from agents.llms.embedded_lender import Lender, Turn

PROTOCOL = 2
"""Of the talk over the socket: another version of this file must not meet it."""
LINGER_S = 1.0
FIRST_USER_S = 15.0
_LOCK_WAIT_S = 10.0
_NAMED_AFTER_S = 2.0
_NAMED_AGAIN_S = 30.0


def room() -> Path:
    """This user's folder for the lock, the socket and the log, the same for every process of the machine."""
    return Path("/tmp") / f"tradingagents-harness-{os.getuid()}"


def socket_path(folder: Path) -> Path:
    return folder / f"embedded.{PROTOCOL}.sock"


def lock_path(folder: Path) -> Path:
    return folder / "embedded.lock"


def log_path(folder: Path) -> Path:
    return folder / "embedded.log"


class Desk:
    """Talks with the users, and knows when the last one has gone."""

    def __init__(self) -> None:
        self._lender = Lender()
        self._users = 0
        self._until = time.monotonic() + FIRST_USER_S

    async def serve(self, path: Path) -> None:
        path.unlink(missing_ok=True)
        lending = asyncio.create_task(self._lender.run())
        server = await asyncio.start_unix_server(self._user, path)
        try:
            while self._users or time.monotonic() < self._until:  # noqa: ASYNC110 - it is the clock that ends it
                await asyncio.sleep(0.1)
        finally:
            path.unlink(missing_ok=True)
            server.close()
            lending.cancel()

    async def _user(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._users += 1
        try:
            await self._serve_user(reader, writer)
        except (OSError, ValueError, KeyError):
            pass
        finally:
            self._users -= 1
            self._until = time.monotonic() + LINGER_S
            writer.close()

    async def _serve_user(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked = json.loads(await reader.readline())
        if not asked.get("model"):
            await _tell(writer, {"pid": os.getpid()})
            await reader.read()
            return
        turn = Turn(str(asked["owner"]), int(asked["pid"]), str(asked["model"]), int(asked["num_ctx"]))
        self._lender.join(turn)
        gone = asyncio.create_task(reader.read())
        try:
            await self._wait(turn, gone, writer)
        finally:
            self._lender.leave(turn)
            gone.cancel()

    async def _wait(self, turn: Turn, gone: asyncio.Task[bytes], writer: asyncio.StreamWriter) -> None:
        granted, patience_s = asyncio.create_task(turn.granted.wait()), _NAMED_AFTER_S
        try:
            while not granted.done() and not gone.done():
                done, _ = await asyncio.wait({granted, gone}, timeout=patience_s, return_when=asyncio.FIRST_COMPLETED)
                if not done:
                    await _tell(writer, {"waiting": [one.user for one in self._lender.computing]})
                    patience_s = _NAMED_AGAIN_S
        finally:
            granted.cancel()
        if turn.error is not None:
            await _tell(writer, {"error": turn.error})
        elif not gone.done():
            await _tell(writer, {"url": turn.url, "load_s": turn.load_s})
            await gone


async def _tell(writer: asyncio.StreamWriter, line: dict[str, Any]) -> None:
    writer.write(json.dumps(line).encode() + b"\n")
    await writer.drain()


def _alone(folder: Path) -> int | None:
    """The lock's file descriptor, held until this process ends; None when another process has it."""
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
    """Leave the process that started us, so that it has no child to wait for."""
    if os.fork():
        os._exit(0)
    os.setsid()


def main(folder: Path) -> None:
    """Serve until the last user has gone; a second such process waits a little for the first to end, then leaves."""
    _detach()
    if _alone(folder) is None:
        return
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(Desk().serve(socket_path(folder)))
    # llama.cpp's threads need no goodbye: nothing is written, and a hanging one must not keep the lock.
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
