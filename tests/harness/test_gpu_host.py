"""doctor on a GPU host and in its containers, by recorded outputs of the tools that it reads. No GPU is needed."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from harness.checking import gpu_host
from harness.checking.checks import Check
from tests.fakes.process import FakeModels
from tests.harness.test_doctor import TINY, look

RTX = "0, NVIDIA GeForce RTX 4090, 550.54.14, 24564, 15012\n"
PROCESSES = "2211, /usr/local/bin/ollama, 700\n9917, /usr/bin/python3 train.py, 14312\n"
TOOLKIT = "NVIDIA Container Toolkit CLI version 1.16.2\ncommit: a5a5833c14a15fd9c86bcece85d5ec6621b65652\n"
CONFIGURED = {"runtimes": {"nvidia": {"args": [], "path": "nvidia-container-runtime"}}}
NO_DRIVER = (
    "NVIDIA-SMI has failed because it couldn't communicate with the NVIDIA driver. "
    "Make sure that the latest NVIDIA driver is installed and running.\n"
)
SOCKETS = """LISTEN 0      4096       127.0.0.1:11434      0.0.0.0:*    users:(("ollama",pid=812,fd=3))
LISTEN 0      511          0.0.0.0:8123       0.0.0.0:*    users:(("nginx",pid=77,fd=6),("nginx",pid=76,fd=6))
LISTEN 0      4096            [::]:22            [::]:*
"""


class Machine:
    """A folder of tools that print what was recorded, and one of the host's files."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.root, self._bin = folder / "root", folder / "bin"
        self.root.mkdir()
        self._bin.mkdir()
        monkeypatch.setenv("PATH", f"{self._bin}{os.pathsep}/bin{os.pathsep}/nonexistent")
        monkeypatch.setenv("HOME", str(folder))

    def tool(self, name: str, *outputs: tuple[str, str], code: int = 0) -> None:
        """A tool whose output depends on a word in its arguments."""
        cases = "\n".join(f"*{word}*) cat <<'END'\n{text}END\n;;" for word, text in outputs)
        path = self._bin / name
        path.write_text(f'#!/bin/sh\ncase "$*" in\n{cases}\nesac\nexit {code}\n')
        path.chmod(0o755)

    def gpu(self, gpus: str = RTX, processes: str = "") -> None:
        self.tool("nvidia-smi", ("query-gpu", gpus), ("query-compute-apps", processes))

    def file(self, name: str, text: str = "") -> None:
        path = self.root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)

    def checks(self, wanted_by: tuple[str, ...] = (), own_bytes: int = 0) -> dict[str, Check]:
        return {check.name: check for check in gpu_host.checks(gpu_host.read(self.root), wanted_by, own_bytes)}


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    return Machine(tmp_path, monkeypatch)


def test_no_gpu_is_fine_until_a_server_of_the_experiment_wants_one(machine: Machine) -> None:
    assert machine.checks()["gpu"].status == "ok"
    wanted = machine.checks(("box",))["gpu"]
    assert wanted.status == "warn"
    assert "server box would compute on the CPU" in wanted.found
    assert "nvidia-smi shows the GPU" in wanted.fix


def test_a_driver_that_does_not_answer_is_named_with_its_own_words(machine: Machine) -> None:
    machine.tool("nvidia-smi", ("query", NO_DRIVER), code=9)
    found = machine.checks()["gpu"]
    assert found.status == "warn", "a driver that is broken matters even where nothing wants it yet"
    assert "couldn't communicate with the NVIDIA driver" in found.found


def test_a_container_without_the_gpu_names_the_host_s_commands(machine: Machine) -> None:
    machine.file(".dockerenv")
    found = machine.checks(("box",))["gpu"]
    assert (found.status, "none visible in this container" in found.found) == ("warn", True)
    assert "nvidia-ctk runtime configure --runtime=docker" in found.fix
    assert "--gpus all" in found.fix


def test_memory_that_another_process_holds_is_named_and_that_of_model_servers_is_not(machine: Machine) -> None:
    machine.gpu(processes=PROCESSES)
    found = machine.checks(("box",))
    assert found["gpu"].found == "NVIDIA GeForce RTX 4090, 24 GiB (9 free), driver 550.54.14"
    assert found["gpu memory"].found == "14 of 24 GiB used by another process: python3 (pid 9917)"
    machine.gpu(processes=PROCESSES.splitlines(keepends=True)[0])
    assert "gpu memory" not in machine.checks(("box",))


def test_in_a_container_memory_of_processes_that_it_cannot_see_is_reported_without_our_own_models(machine: Machine) -> None:
    machine.file(".dockerenv")
    machine.gpu()
    assert "15 of 24 GiB used by another process: a process that is not visible here" in machine.checks()["gpu memory"].found
    assert "gpu memory" not in machine.checks(own_bytes=14_500 * 2**20)


@pytest.mark.parametrize(
    ("toolkit", "daemon", "status", "said"),
    [
        ("", None, "warn", "not installed"),
        (TOOLKIT, None, "warn", "version 1.16.2, but not configured for Docker"),
        (TOOLKIT, "{}", "warn", "version 1.16.2, but not configured for Docker"),
        (TOOLKIT, json.dumps(CONFIGURED), "ok", "version 1.16.2, configured in"),
        (TOOLKIT, '{"runtimes": {', "warn", "daemon.json is not valid JSON"),
    ],
)
def test_the_container_toolkit_must_be_installed_and_configured(
    machine: Machine, toolkit: str, daemon: str | None, status: str, said: str
) -> None:
    machine.gpu()
    machine.tool("docker")
    if toolkit:
        machine.tool("nvidia-ctk", ("--version", toolkit))
    if daemon is not None:
        machine.file("etc/docker/daemon.json", daemon)
    found = machine.checks()["nvidia container toolkit"]
    assert found.status == status
    assert said in found.found
    assert status == "ok" or "nvidia-ctk runtime configure --runtime=docker" in found.fix


def test_without_docker_the_container_toolkit_does_not_matter(machine: Machine) -> None:
    machine.gpu()
    assert "nvidia container toolkit" not in machine.checks()


def test_ports_are_free_or_taken_and_by_what(machine: Machine) -> None:
    machine.tool("ss", ("-ltnpH", SOCKETS))
    found = {check.name: check for check in gpu_host.ports()}
    assert (found["port 11434"].status, found["port 11434"].found) == ("ok", "used by ollama (pid 812)")
    assert (found["port 8123"].status, found["port 8123"].found.partition(";")[0]) == ("warn", "used by nginx (pid 77)")
    assert "give the service another port" in found["port 8123"].fix
    machine.tool("ss", ("-ltnpH", SOCKETS.replace('users:(("ollama",pid=812,fd=3))', "").splitlines()[0] + "\n"))
    found = {check.name: check for check in gpu_host.ports()}
    assert found["port 8123"].found == "free, for the HTTP service"
    assert "a process of another user" in found["port 11434"].found


@pytest.mark.parametrize(
    ("model", "size_gb"),
    [("llama3.1:8b", 4.9), ("llama3.3:70b", 43), ("gemma3:27b", 17), ("qwen3:30b-a3b-q8_0", 32), ("mixtral:8x7b", 26)],
)
def test_the_size_of_a_model_is_estimated_from_its_tag(model: str, size_gb: float) -> None:
    """Sizes that Ollama's library shows."""
    assert gpu_host.download_gb(model) == pytest.approx(size_gb, rel=0.45)
    assert gpu_host.download_gb("house:latest") is None


def test_models_that_the_disk_has_no_room_for_are_named_before_they_are_pulled(tmp_path: Path) -> None:
    (found,) = gpu_host.pull_room(["big:90000000b", "llama3.1:8b", "house"], {"OLLAMA_MODELS": str(tmp_path / "models")})
    assert found.status == "warn"
    assert found.found.startswith("pulling big:90000000b, llama3.1:8b needs about 58500005 GB, ")
    assert f"free at {tmp_path}" in found.found
    (small,) = gpu_host.pull_room(["tiny:1m"], {"OLLAMA_MODELS": str(tmp_path)})
    assert small.status == "ok"


def test_an_experiment_with_a_server_on_this_machine_wants_its_gpu_and_room_for_its_models(
    fake_models: FakeModels, tmp_path: Path, machine: Machine
) -> None:
    server = f"ollama: {{provider: ollama, url: '{fake_models.url}'%s}}"
    (tmp_path / "servers.yaml").write_text(server % "")
    text = TINY.replace("{provider: llamacpp, model: smollm2-135m}", '{provider: ollama, model: "missing:8b", num_ctx: 4096}')
    found = look(tmp_path, text)
    assert found["gpu"].status == "warn"
    assert "server ollama would compute on the CPU" in found["gpu"].found
    assert found["disk for models"].found.startswith("pulling missing:8b needs about 5 GB")
    (tmp_path / "servers.yaml").write_text(server % ", usd_per_cpu_hour: 0.1")
    assert look(tmp_path, text)["gpu"].status == "ok", "declared to compute on the CPU"
    assert look(tmp_path)["gpu"].status == "ok", "the embedded model computes on the CPU"
