"""The process of an attached program: a group of its own, with capped output, that never outlives its case or its worker."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.gateway import watchdog

KEPT_BYTES = 64 * 1024
"""Of each end of each stream; what lies between is read and forgotten."""
TERM_GRACE_S = 3.0
_AFTER_EXIT_S = 1.0
_CHUNK_BYTES = 1 << 16


@dataclass
class ProgramOutput:
    """The start and the end of a stream."""

    start: bytearray = field(default_factory=bytearray)
    end: bytearray = field(default_factory=bytearray)
    size: int = 0

    def add(self, chunk: bytes) -> None:
        self.size += len(chunk)
        if (room := KEPT_BYTES - len(self.start)) > 0:
            self.start += chunk[:room]
            chunk = chunk[room:]
        self.end += chunk
        del self.end[:-KEPT_BYTES]

    @property
    def text(self) -> str:
        left_out = self.size - len(self.start) - len(self.end)
        gap = f"\n... {left_out:,} bytes left out ...\n".encode() if left_out else b""
        return bytes(self.start + gap + self.end).decode("utf-8", "replace")


@dataclass(frozen=True)
class ProgramEnd:
    """How the program ended."""

    exit_code: int | None
    """Negative: the signal that ended it; None if it could not be started."""
    stdout: str
    stderr: str
    problem: str = ""


class Watchdog:
    """One process per worker that ends the groups of a worker which was killed."""

    def __init__(self) -> None:
        self._process: asyncio.subprocess.Process | None = None

    async def start(self) -> None:
        command = [sys.executable, "-I", "-S", watchdog.__file__]
        self._process = await asyncio.create_subprocess_exec(
            *command, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL, start_new_session=True
        )

    def _write(self, line: str) -> None:
        if self._process and self._process.stdin and not self._process.stdin.is_closing():
            self._process.stdin.write(line.encode())

    @contextlib.contextmanager
    def watches(self, group: int) -> Iterator[None]:
        self._write(f"+{group}\n")
        try:
            yield
        finally:
            self._write(f"-{group}\n")

    async def stop(self) -> None:
        if self._process and self._process.stdin:
            self._process.stdin.close()
            await self._process.wait()
            self._process = None


async def run(
    command: Sequence[str], folder: Path, environment: Mapping[str, str], stopped: asyncio.Event, guard: Watchdog
) -> ProgramEnd:
    """Run the program to its end, or until `stopped` is set; nothing of it is left when this returns or raises."""
    try:
        process = await asyncio.create_subprocess_exec(
            *command,
            cwd=folder,
            env=dict(environment),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            start_new_session=True,
        )
    except OSError as error:
        return ProgramEnd(None, "", "", f"{command[0]} cannot be started in {folder}: {error.strerror or error}")
    out, err = ProgramOutput(), ProgramOutput()
    readers = [asyncio.create_task(_read(process.stdout, out)), asyncio.create_task(_read(process.stderr, err))]
    with guard.watches(process.pid):
        try:
            await _ended_or_stopped(process, stopped)
        finally:
            await asyncio.shield(_end(process, environment["OPENAI_API_KEY"]))
            # A grandchild that left the group may still hold the pipes.
            await asyncio.wait(readers, timeout=_AFTER_EXIT_S)
            for reader in readers:
                reader.cancel()
    return ProgramEnd(process.returncode, out.text, err.text)


async def _read(stream: asyncio.StreamReader | None, output: ProgramOutput) -> None:
    while stream is not None and (chunk := await stream.read(_CHUNK_BYTES)):
        output.add(chunk)


async def _ended_or_stopped(process: asyncio.subprocess.Process, stopped: asyncio.Event) -> None:
    waits = [asyncio.ensure_future(process.wait()), asyncio.ensure_future(stopped.wait())]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for each in waits:
            each.cancel()


async def _end(process: asyncio.subprocess.Process, token: str) -> None:
    """TERM, then KILL to the whole group; then to whatever left the group and still has the token of this case."""
    if process.returncode is None:
        _signal(process.pid, signal.SIGTERM)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(process.wait(), TERM_GRACE_S)
    _signal(process.pid, signal.SIGKILL)
    if process.returncode is None:
        await process.wait()
    for pid in await asyncio.to_thread(_with_token, token.encode()):
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)


def _signal(group: int, signum: int) -> None:
    with contextlib.suppress(OSError):
        os.killpg(group, signum)


def _with_token(token: bytes) -> list[int]:
    """Processes whose environment holds the token (Linux)."""
    pids = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if token in (folder / "environ").read_bytes() and int(folder.name) != os.getpid():
                pids.append(int(folder.name))
    return pids
