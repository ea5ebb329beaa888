"""What doctor sees of a GPU host, also from inside a container: driver, memory, container toolkit, room for models, ports.

Everything is read from the tools and files of the host: nvidia-smi, nvidia-ctk, ss, Docker's daemon.json.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from harness.checking.checks import Check, ok, warn

_TOOL_TIMEOUT_S = 10.0
_GPUS = "--query-gpu=index,name,driver_version,memory.total,memory.used"
_PROCESSES = "--query-compute-apps=pid,process_name,used_memory"
_CSV = "--format=csv,noheader,nounits"
_MODEL_SERVERS = ("ollama", "llama-server", "llama_server", "vllm", "xllamacpp", "sglang")
"""Parts of the names of processes that hold the models which a run asks."""
_HELD_SHARE = 0.1
"""Share of a GPU's memory held by others from which that is a warning."""
_MIB_PER_GIB = 1024
_BYTES_PER_PARAMETER = {
    "q2": 0.4,
    "q3": 0.5,
    "q4": 0.62,
    "q5": 0.75,
    "q6": 0.9,
    "q8": 1.1,
    "fp16": 2.05,
    "bf16": 2.05,
    "f16": 2.05,
}
_DEFAULT_BYTES_PER_PARAMETER = 0.65
"""Of Ollama's default tags, which are quantised to four bits: llama3.1:8b 4.9 GB, llama3.3:70b 43 GB, gemma3:27b 17 GB."""
_SPARE_GB = 2.0
_DRIVER_FIX = (
    "install or load NVIDIA's driver on the host until nvidia-smi shows the GPU there; after an update, restart the host"
)
_CONTAINER_FIX = (
    "on the host: `nvidia-ctk runtime configure --runtime=docker`, `systemctl restart docker`; then start the container with "
    "`--gpus all`, or with a device reservation as in docker-compose.gpu.yml"
)


@dataclass(frozen=True)
class ToolOutput:
    """What a tool printed; `code` is None if it is not installed or did not end."""

    code: int | None
    text: str = ""


@dataclass(frozen=True)
class Gpu:
    """One GPU, in MiB."""

    index: str
    name: str
    driver: str
    total: float
    used: float

    @property
    def shown(self) -> str:
        free = self.total - self.used
        return f"{self.name}, {self.total / _MIB_PER_GIB:.0f} GiB ({free / _MIB_PER_GIB:.0f} free), driver {self.driver}"


@dataclass(frozen=True)
class GpuHost:
    """Outputs and files of the host, as they are."""

    gpus: ToolOutput
    processes: ToolOutput
    is_container: bool
    has_docker: bool = False
    toolkit: ToolOutput = ToolOutput(None)
    daemon_files: Mapping[str, str] = field(default_factory=dict)
    has_cdi: bool = False


def read(root: Path = Path("/")) -> GpuHost:
    """Ask the tools. Where there is no nvidia-smi, nothing else is asked."""
    is_container = any((root / name).exists() for name in (".dockerenv", "run/.containerenv"))
    gpus = _run("nvidia-smi", _GPUS, _CSV)
    if gpus.code is None:
        return GpuHost(gpus, ToolOutput(None), is_container)
    config = (root / "etc/docker/daemon.json", Path.home() / ".config/docker/daemon.json")
    return GpuHost(
        gpus,
        _run("nvidia-smi", _PROCESSES, _CSV) if gpus.code == 0 else ToolOutput(None),
        is_container,
        has_docker=shutil.which("docker") is not None,
        toolkit=_run("nvidia-ctk", "--version"),
        daemon_files={str(path): path.read_text(errors="replace") for path in config if os.access(path, os.R_OK)},
        has_cdi=any((root / name / "nvidia.yaml").exists() for name in ("etc/cdi", "var/run/cdi")),
    )


def _run(tool: str, *arguments: str) -> ToolOutput:
    try:
        done = subprocess.run(
            (tool, *arguments), capture_output=True, text=True, errors="replace", timeout=_TOOL_TIMEOUT_S, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return ToolOutput(None)
    return ToolOutput(done.returncode, done.stdout if done.returncode == 0 else done.stdout + done.stderr)


def checks(host: GpuHost, wanted_by: Sequence[str] = (), own_bytes: int = 0) -> Iterator[Check]:
    """The GPU, its memory, and whether containers get it.

    `wanted_by`: servers of the experiment that compute on this machine's GPU. `own_bytes`: GPU memory that their models hold.
    """
    gpus = list(_gpus(host.gpus)) if host.gpus.code == 0 else []
    if not gpus:
        yield _no_gpu(host, wanted_by)
        return
    yield ok("gpu", "; ".join(gpu.shown for gpu in gpus))
    yield from _held_by_others(gpus, host, own_bytes / 2**20)
    if host.has_docker:
        yield _toolkit(host)


def _gpus(output: ToolOutput) -> Iterator[Gpu]:
    for index, name, driver, total, used in _rows_of(output.text, 5):
        yield Gpu(index, name, driver, _number(total), _number(used))


def _number(text: str) -> float:
    """0 for `[N/A]`, which unified memory reports."""
    return float(text) if re.fullmatch(r"\d+(\.\d+)?", text) else 0.0


def _no_gpu(host: GpuHost, wanted_by: Sequence[str]) -> Check:
    """A machine without a GPU is fine as long as nothing of the experiment computes on one."""
    lines = [line.strip() for line in host.gpus.text.splitlines() if line.strip()]
    if host.gpus.code is None:
        problem = "none visible in this container: no nvidia-smi" if host.is_container else "none here: no nvidia-smi"
    else:
        problem = f"none usable: nvidia-smi says {lines[0] if lines else 'nothing'!r}"
    if not wanted_by and host.gpus.code is None:
        return ok("gpu", problem)
    wanted = f"; server {' and '.join(wanted_by)} would compute on the CPU" if wanted_by else ""
    fix = _CONTAINER_FIX if host.is_container else _DRIVER_FIX
    cpu = ". To compute on the CPU, declare usd_per_cpu_hour for it in servers.yaml" if wanted_by else ""
    return warn("gpu", problem + wanted, fix + cpu)


def _held_by_others(gpus: Iterable[Gpu], host: GpuHost, own_mib: float) -> Iterator[Check]:
    gpus = tuple(gpus)
    processes = [
        (pid, Path(name.split()[0] if name else "").name, _number(used)) for pid, name, used in _rows_of(host.processes.text, 3)
    ]
    others = [process for process in processes if not any(server in process[1].lower() for server in _MODEL_SERVERS)]
    total_mib = sum(gpu.total for gpu in gpus)
    # A container sees no processes of others, only the memory that they hold.
    held_mib = sum(used for _, _, used in others) if processes else sum(gpu.used for gpu in gpus) - own_mib
    if not total_mib or held_mib < _HELD_SHARE * total_mib:
        return
    names = ", ".join(f"{name} (pid {pid})" for pid, name, _ in others) or "a process that is not visible here"
    problem = f"{held_mib / _MIB_PER_GIB:.0f} of {total_mib / _MIB_PER_GIB:.0f} GiB used by another process: {names}"
    fix = "end it (nvidia-smi on the host lists all), or choose models that fit the rest; what does not fit computes on the CPU"
    yield warn("gpu memory", problem, fix)


def _rows_of(text: str, columns: int) -> Iterator[tuple[str, ...]]:
    for line in text.splitlines():
        fields = tuple(field.strip() for field in line.split(","))
        if len(fields) == columns:
            yield fields


def _toolkit(host: GpuHost) -> Check:
    name, configure = "nvidia container toolkit", "nvidia-ctk runtime configure --runtime=docker && systemctl restart docker"
    if host.toolkit.code != 0:
        return warn(name, "not installed: containers here see no GPU", f"install nvidia-container-toolkit, then: {configure}")
    found = re.search(r"version (\S+)", host.toolkit.text)
    version = f"version {found[1]}" if found else "installed"
    for path, text in host.daemon_files.items():
        try:
            config = json.loads(text or "{}")
        except ValueError as error:
            return warn(
                name, f"{path} is not valid JSON ({error}), so Docker does not start", f"correct the file, then: {configure}"
            )
        if isinstance(config, dict) and "nvidia" in (config.get("runtimes") or {}):
            return ok(name, f"{version}, configured in {path}")
    if host.has_cdi:
        return ok(name, f"{version}, configured as CDI device")
    return warn(name, f"{version}, but not configured for Docker: no runtime 'nvidia' in daemon.json", configure)


# --- room for models ------------------------------------------------------------------------------------------------------


def pull_room(models: Sequence[str], environment: Mapping[str, str]) -> Iterator[Check]:
    """Whether the disk of this machine's Ollama holds these models, which are not pulled yet."""
    sizes = {model: size_gb for model in models if (size_gb := download_gb(model)) is not None}
    if not sizes:
        return
    folder = _models_folder(environment)
    there = next(path for path in (folder, *folder.parents) if path.exists())
    free_gb, needed_gb = shutil.disk_usage(there).free / 1e9, sum(sizes.values())
    shown = f"pulling {', '.join(sizes)} needs about {needed_gb:.0f} GB, {free_gb:.0f} free at {folder}"
    if free_gb < needed_gb + _SPARE_GB:
        fix = "free some space, move the models (OLLAMA_MODELS=FOLDER for the server), or choose smaller ones"
        yield warn("disk for models", shown, fix)
    else:
        yield ok("disk for models", shown)


def download_gb(model: str) -> float | None:
    """Size of an Ollama model by its tag (llama3.1:8b, qwen3:30b-a3b-q8_0), within a fifth or so; None if the tag does not
    tell."""
    tag = model.partition(":")[2].lower()
    size = re.match(r"(?:\d+x)?(?:e)?(\d+(?:\.\d+)?)([bm])(?![a-z0-9])", tag)
    if size is None:
        return None
    experts = re.match(r"(\d+)x", tag)
    billions = float(size[1]) * (1.0 if size[2] == "b" else 1e-3) * (int(experts[1]) if experts else 1)
    per_parameter = next((each for mark, each in _BYTES_PER_PARAMETER.items() if mark in tag), _DEFAULT_BYTES_PER_PARAMETER)
    return billions * per_parameter


def _models_folder(environment: Mapping[str, str]) -> Path:
    if named := environment.get("OLLAMA_MODELS"):
        return Path(named).expanduser()
    service = Path("/usr/share/ollama/.ollama/models")
    return service if service.exists() else Path.home() / ".ollama/models"


# --- ports ----------------------------------------------------------------------------------------------------------------

PORTS: Mapping[int, tuple[str, str]] = {
    8123: ("the HTTP service", "end it, or give the service another port"),
    11434: ("Ollama", "end it, or start Ollama on another port (OLLAMA_HOST=127.0.0.1:11435) and name it in servers.yaml"),
}
"""Port -> what listens there, and the fix where something else does."""


def ports() -> Iterator[Check]:
    """The ports of the stack: free, or taken and by what."""
    listening = _run("ss", "-ltnpH")
    for port, (user, fix) in PORTS.items():
        name, process = f"port {port}", _listener(listening.text, port) if listening.code == 0 else _unnamed(port)
        if process is None:
            yield ok(name, f"free, for {user}")
        elif user.lower() in process:
            yield ok(name, f"used by {process}")
        else:
            yield warn(name, f"used by {process}; it is the port of {user}", f"nothing if that is {user}; else {fix}")


def _listener(sockets: str, port: int) -> str | None:
    """The process that listens on a port, from the output of ss."""
    for line in sockets.splitlines():
        fields = line.split()
        if len(fields) >= 4 and fields[3].rpartition(":")[2] == str(port):
            process = re.search(r'\(\("([^"]+)",pid=(\d+)', line)
            return f"{process[1]} (pid {process[2]})" if process else "a process of another user (`sudo ss -ltnp` names it)"
    return None


def _unnamed(port: int) -> str | None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return "a process that this machine has no tool to name (install iproute2 for ss)"
    return None
