"""python -m benchmarks.gpu_servers (after `make demo`): llama.cpp's server from PyPI with a packaged model, for benchmarks.gpu

The model servers of `benchmarks.gpu`: a running one, else one of this machine, which is started and ended. As a command it is
llama.cpp's HTTP server from the package xllamacpp, for machines that have only what PyPI offers.
"""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

import httpx

from agents.llms import weights
from harness.queue.process import die_with_parent

ROOT = Path(__file__).resolve().parents[1]
EMBEDDED = "smollm2-135m"
FOUND = (
    ("ollama", "http://127.0.0.1:11434"),
    ("openai_compatible", "http://127.0.0.1:8080/v1"),
    ("openai_compatible", "http://127.0.0.1:8000/v1"),
)
"""Provider and address of servers at their usual ports."""
CONTEXT_TOKENS = 4096
READY_S = 180.0
"""Longest wait for a server that was started: vLLM compiles its kernels."""
END_S = 20.0


@dataclass(frozen=True)
class Served:
    """A model and the server that answers for it."""

    provider: str
    url: str
    model: str
    server: str
    """Name and version, as it reports them."""
    digest: str | None = None
    quantisation: str | None = None


@dataclass(frozen=True)
class Startable:
    """How a server of this machine is started."""

    name: str
    provider: str
    command: Sequence[str]
    path: str
    """Of the URL that the experiment asks."""
    ready: str
    """Path that answers 200 once requests can be sent."""
    environment: Mapping[str, str]


@contextmanager
def serving(options: argparse.Namespace) -> Iterator[Served]:
    """A model server for the block: a running one, else one that is started now and ended after it."""
    slots = max(options.slots)
    if not options.cpu and (running := _running(options)) is not None:
        yield running
        return
    candidates = [_xllamacpp] if options.cpu else [_ollama, _llama_server, _vllm, _xllamacpp]
    for candidate in candidates:
        port = _free_port()
        startable = candidate(options.model, slots, port, not options.cpu)
        if startable is None:
            continue
        with _started(startable, port) as url:
            served = _described(startable.provider, url, options.model, name=startable.name)
            if served is not None:
                yield served
                return
    sys.exit(
        "no model server answers at its usual port, and none can be started here: install Ollama and pull a model, put "
        "llama-server on PATH (--model FILE.gguf), install vLLM (--model NAME_OR_FOLDER), or the tiny model (make models)"
    )


# --- running servers ------------------------------------------------------------------------------------------------------


def _running(options: argparse.Namespace) -> Served | None:
    """The server at --url, else the first at a usual port that has a model."""
    if not options.url:
        served = (_described(provider, url, options.model) for provider, url in FOUND)
        return next((server for server in served if server is not None), None)
    served_there = _described(options.provider or "openai_compatible", options.url, options.model)
    return served_there or sys.exit(f"no server answers at {options.url}, or it has no model: start it, or correct --url")


def _described(provider: str, url: str, wanted: str | None, *, name: str = "") -> Served | None:
    """What the server reports of its model; None if it does not answer, or has none."""
    try:
        answer = httpx.get(f"{url}{'/api/tags' if provider == 'ollama' else '/models'}", timeout=5)
        listing = answer.raise_for_status().json()
    except (httpx.HTTPError, ValueError):
        return None
    models = listing.get("models") if provider == "ollama" else listing.get("data")
    names: dict[str, Any] = {str(model.get("name") or model.get("id")): model for model in models or []}
    if not names:
        return None
    chosen = next(iter(names)) if wanted is None or (name and provider != "ollama") else wanted
    if chosen not in names:
        sys.exit(f"the server at {url} has no model {wanted!r}; it has: {', '.join(names)}")
    if provider == "ollama":
        details = names[chosen].get("details") or {}
        number = httpx.get(f"{url}/api/version", timeout=5).json().get("version", "unknown")
        return Served(provider, url, chosen, f"ollama {number}", names[chosen].get("digest"), details.get("quantization_level"))
    server = name or str(names[chosen].get("owned_by") or "OpenAI-compatible server")
    packaged = weights.WEIGHTS.get(chosen)
    return Served(provider, url, chosen, server, quantisation=packaged.quantisation if packaged else None)


# --- servers that can be started ------------------------------------------------------------------------------------------


def _ollama(model: str | None, slots: int, port: int, on_gpu: bool) -> Startable | None:
    if shutil.which("ollama") is None:
        return None
    environment = {"OLLAMA_HOST": f"127.0.0.1:{port}", "OLLAMA_NUM_PARALLEL": str(slots)}
    return Startable("ollama", "ollama", ("ollama", "serve"), "", "/api/version", environment)


def _llama_server(model: str | None, slots: int, port: int, on_gpu: bool) -> Startable | None:
    """llama.cpp's server on PATH, with a GGUF file or a packaged model."""
    file = _weight_file(model)
    if shutil.which("llama-server") is None or file is None:
        return None
    name = EMBEDDED if model is None else Path(model).stem
    command = (
        *("llama-server", "--model", str(file), "--alias", name, "--host", "127.0.0.1", "--port", str(port)),
        *("--parallel", str(slots), "--ctx-size", str(slots * CONTEXT_TOKENS), "--n-gpu-layers", "999"),
    )
    return Startable("llama-server", "openai_compatible", command, "/v1", "/health", {})


def _vllm(model: str | None, slots: int, port: int, on_gpu: bool) -> Startable | None:
    if shutil.which("vllm") is None or model is None:
        return None
    command = (
        *("vllm", "serve", model, "--host", "127.0.0.1", "--port", str(port)),
        *("--max-model-len", str(CONTEXT_TOKENS), "--max-num-seqs", str(slots)),
    )
    return Startable("vllm", "openai_compatible", command, "/v1", "/health", {"HF_HUB_OFFLINE": "1"})


def _xllamacpp(model: str | None, slots: int, port: int, on_gpu: bool) -> Startable | None:
    """llama.cpp's server of the package xllamacpp, with a packaged model."""
    name = model or EMBEDDED
    if find_spec("xllamacpp") is None or name not in weights.WEIGHTS or weights.missing_parts(name):
        return None
    command = (sys.executable, "-m", "benchmarks.gpu_servers", name, str(slots))
    arguments = (str(CONTEXT_TOKENS), str(port), *(["--gpu"] if on_gpu else []))
    number = version("xllamacpp")
    # Threads that spin while they wait for each other slow down a busy machine.
    waiting = {"OMP_WAIT_POLICY": "passive"}
    return Startable(f"xllamacpp {number}", "openai_compatible", (*command, *arguments), "/v1", "/health", waiting)


def environment() -> dict[str, str]:
    """This process's environment with the repository first on Python's path."""
    path = os.pathsep.join(filter(None, (str(ROOT), os.environ.get("PYTHONPATH"))))
    return os.environ | {"PYTHONPATH": path}


def _weight_file(model: str | None) -> Path | None:
    if model is not None and model.endswith(".gguf"):
        return Path(model)
    name = model or EMBEDDED
    return weights.weight_file(name) if name in weights.WEIGHTS and not weights.missing_parts(name) else None


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@contextmanager
def _started(server: Startable, port: int) -> Iterator[str]:
    """Its URL, once it answers. The process and its children end with the block."""
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as log:
        process = subprocess.Popen(
            server.command,
            env={**environment(), **server.environment},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=partial(die_with_parent, os.getpid(), signal.SIGTERM),
        )
        try:
            _wait_until_ready(process, f"http://127.0.0.1:{port}{server.ready}", server.name, log)
            yield f"http://127.0.0.1:{port}{server.path}"
        finally:
            _end(process)


def _wait_until_ready(process: subprocess.Popen[Any], url: str, name: str, log: IO[str]) -> None:
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(url, timeout=2).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.2)
    log.seek(0)
    problem = f"ended with {process.returncode}" if process.returncode is not None else f"does not answer after {READY_S:.0f} s"
    sys.exit(f"{name} {problem}:\n{log.read()[-2000:]}")


def _end(process: subprocess.Popen[Any]) -> None:
    """End the server and the runners that it started: they are one process group."""
    for sign in (signal.SIGTERM, signal.SIGKILL):
        try:
            os.killpg(process.pid, sign)
            process.wait(timeout=END_S)
        except ProcessLookupError:
            return
        except subprocess.TimeoutExpired:
            continue


# --- llama.cpp's server from a package ------------------------------------------------------------------------------------


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    for name in ("slots", "context", "port"):
        parser.add_argument(name, type=int)
    parser.add_argument("--gpu", action="store_true")
    options = parser.parse_args()
    import xllamacpp

    params = xllamacpp.CommonParams()
    params.model.path, params.model_alias = str(weights.weight_file(options.model)), {options.model}
    # The context is divided by the slots.
    params.n_parallel, params.n_ctx = options.slots, options.slots * options.context
    params.n_gpu_layers = 999 if options.gpu else 0
    params.hostnames, params.port, params.ui = ["127.0.0.1"], options.port, False
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    # As in the server of our own: all cores read prompts; for so small a model, writing threads wait longer than they work.
    params.cpuparams.n_threads, params.cpuparams_batch.n_threads = 1, cores
    params.cpuparams.poll, params.cpuparams_batch.poll = 0, 0
    if template := weights.weights_of(options.model).chat_template:
        params.chat_template = template
    server = xllamacpp.Server(params)
    print(server.listening_address, flush=True)
    signal.pause()


if __name__ == "__main__":
    main()
