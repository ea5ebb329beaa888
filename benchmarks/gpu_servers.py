"""python -m benchmarks.gpu_servers (after `make demo`): llama.cpp's server from PyPI with a packaged model, for benchmarks.gpu

The model servers of `benchmarks.gpu`: a running one, else one of this machine, which is started and ended. As a command it is
llama.cpp's HTTP server from the package xllamacpp, for machines that have only what PyPI offers.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

import httpx

from agents.llms import weights
from agents.llms.ollama_server import LOAD_PARAMETERS
from agents.llms.openai_server import llama_quantisation
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
READY_S = 600.0
"""Longest wait for a server that was started: vLLM compiles its kernels, and large models load slowly."""
END_S = 20.0
_LOG_BYTES = 1 << 20
_QUANTISATION = re.compile(r"(?:^|[-._])((?:IQ|TQ|Q)\d\w*|MXFP4|BF16|F16|F32)(?=[-.]|$)", re.IGNORECASE)
"""In the name of a GGUF file."""
_OFFLOADED = re.compile(r"offloaded (\d+)/(\d+) layers to GPU")
"""In the log of llama.cpp."""


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
    load_s: float | None = None
    """Time to load the model, or from the server's start to its first answer."""
    gpu_share: float | None = None
    """Share of the model that computes on the GPU; None if the server does not report it."""


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
    if (options.url or not options.cpu) and (running := _running(options)) is not None:
        with _loaded(running) as served:
            yield served
        return
    candidates = [_xllamacpp] if options.cpu else [_ollama, _llama_server, _vllm, _xllamacpp]
    lacking = []
    for candidate in candidates:
        port = _free_port()
        startable = candidate(options.model, max(options.slots), port, not options.cpu)
        if startable is None:
            continue
        with _started(startable, port) as started:
            names = _models(startable.provider, started.url) or {}
            chosen = _named(options.model if startable.provider == "ollama" else None, names)
            if chosen is not None:
                with _loaded(_described(startable.provider, started.url, chosen, names[chosen], startable.name)) as served:
                    yield (
                        served
                        if served.load_s is not None
                        else replace(served, load_s=started.s, gpu_share=started.gpu_share())
                    )
                return
            lacking.append(f"{startable.name} has no model {options.model or ''}; it has: {', '.join(names) or 'none'}. ")
    sys.exit(
        f"{''.join(lacking)}no model server answers at its usual port, and none can be started here: install Ollama and pull a "
        "model, put llama-server on PATH (--model FILE.gguf), install vLLM (--model NAME_OR_FOLDER), or the tiny model (make "
        "models)"
    )


# --- running servers ------------------------------------------------------------------------------------------------------


def _running(options: argparse.Namespace) -> Served | None:
    """The server at --url, else the first at a usual port that has the model."""
    addresses: tuple[tuple[str, str], ...] = FOUND
    if options.url:
        url = options.url.rstrip("/")
        addresses = (("ollama", url), ("openai_compatible", url), ("openai_compatible", f"{url}/v1"))
        addresses = tuple(pair for pair in addresses if options.provider in (None, pair[0]))
    answered: list[str] = []
    for provider, url in addresses:
        names = _models(provider, url)
        chosen = _named(options.model, names or {})
        if names and chosen is not None:
            return _described(provider, url, chosen, names[chosen])
        answered += names or ()
    if options.url and answered:
        sys.exit(f"the server at {options.url} has no model {options.model!r}; it has: {', '.join(answered)}")
    if options.url:
        sys.exit(f"no server answers at {options.url}, or it has no model: start it, or correct --url")
    return None


def _models(provider: str, url: str) -> dict[str, Mapping[str, Any]] | None:
    """Name of a model -> its entry in the server's list; None if no such server answers."""
    listing = _get(f"{url}{'/api/tags' if provider == 'ollama' else '/models'}")
    entries = listing.get("models" if provider == "ollama" else "data")
    return None if entries is None else {str(entry.get("name") or entry.get("id")): entry for entry in entries}


def _named(wanted: str | None, names: Mapping[str, Any]) -> str | None:
    """The wanted model, or the first; `llama3` means `llama3:latest`."""
    choices = names if wanted is None else (wanted, f"{wanted}:latest")
    return next((name for name in choices if name in names), None)


def _get(url: str) -> dict[str, Any]:
    """The JSON object at an address; empty for anything else."""
    try:
        answer = httpx.get(url, timeout=5).raise_for_status().json()
    except (httpx.HTTPError, ValueError):
        return {}
    return answer if isinstance(answer, dict) else {}


def _described(provider: str, url: str, model: str, entry: Mapping[str, Any], name: str = "") -> Served:
    """What a server reports of itself and its model; `name`: of a server that was started."""
    if provider == "ollama":
        number = _get(f"{url}/api/version").get("version", "unknown")
        quantisation = (entry.get("details") or {}).get("quantization_level")
        return Served(provider, url, model, f"ollama {number}", entry.get("digest"), quantisation)
    root = url.removesuffix("/v1")
    if entry.get("owned_by") == "vllm":
        folder = Path(str(entry.get("root") or "not a folder"))
        digest = _sha256(*sorted(folder.glob("*.safetensors"))) if (folder / "config.json").is_file() else None
        server = f"vllm {_get(f'{root}/version').get('version', 'unknown')}"
        return Served(provider, url, model, server, digest, _format(folder))
    properties = _get(f"{root}/props")
    build = properties.get("build_info")
    server = name if not build or name.startswith("xllamacpp") else f"llama-server {build}"
    file = Path(str(properties.get("model_path") or ""))
    found = _QUANTISATION.search(file.stem)
    return Served(
        provider,
        url,
        model,
        server or str(entry.get("owned_by") or "OpenAI-compatible server"),
        digest=_sha256(file) if file.is_file() else None,
        quantisation=llama_quantisation(properties.get("model_ftype")) or (found[1].upper() if found else None),
    )


def _sha256(*files: Path) -> str:
    """Of the files' bytes, one file after the other."""
    digest = hashlib.sha256()
    for file in files:
        with file.open("rb") as opened:
            while block := opened.read(1 << 20):
                digest.update(block)
    return digest.hexdigest()


def _format(folder: Path) -> str | None:
    """Quantisation method of a model in Hugging Face's format, else the type of its weights."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    method = (config.get("quantization_config") or {}).get("quant_method") or config.get("dtype") or config.get("torch_dtype")
    return None if method is None else str(method)


@contextmanager
def _loaded(served: Served) -> Iterator[Served]:
    """Keep an Ollama model loaded meanwhile, as it was before afterwards; other servers hold theirs anyway."""
    if served.provider != "ollama":
        yield served
        return
    was_loaded = _in_memory(served) is not None
    started = time.monotonic()
    _keep(served, "30m")
    load_s = None if was_loaded else time.monotonic() - started
    entry = _in_memory(served) or {}
    share = entry["size_vram"] / entry["size"] if entry.get("size") and entry.get("size_vram") is not None else None
    try:
        yield replace(served, load_s=load_s, gpu_share=share)
    finally:
        if not was_loaded:
            _keep(served, 0)


def _in_memory(served: Served) -> Mapping[str, Any] | None:
    entries = _get(f"{served.url}/api/ps").get("models") or ()
    return next((entry for entry in entries if entry.get("name") == served.model), None)


def _keep(served: Served, keep_alive: str | int) -> None:
    """Load the model as the calls do, or it would be loaded again for them; 0 unloads it."""
    body = {"model": served.model, "keep_alive": keep_alive, "stream": False, **LOAD_PARAMETERS}
    answer = httpx.post(f"{served.url}/api/generate", json=body | {"options": {"num_ctx": CONTEXT_TOKENS}}, timeout=READY_S)
    if answer.is_error:
        sys.exit(f"{served.server} cannot load {served.model}: {answer.text[:500]}")


# --- servers that can be started ------------------------------------------------------------------------------------------


def _ollama(model: str | None, slots: int, port: int, on_gpu: bool) -> Startable | None:
    if shutil.which("ollama") is None or _is_file(model):
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
    if shutil.which("vllm") is None or model is None or model.endswith(".gguf"):
        return None
    command = (
        *("vllm", "serve", model, "--served-model-name", Path(model).name if _is_file(model) else model),
        *("--host", "127.0.0.1", "--port", str(port), "--max-model-len", str(CONTEXT_TOKENS), "--max-num-seqs", str(slots)),
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


def _is_file(model: str | None) -> bool:
    """Whether a model is named by its file or folder."""
    return model is not None and (model.endswith(".gguf") or Path(model).exists())


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


@dataclass(frozen=True)
class _Started:
    """A server that was started."""

    url: str
    s: float
    """Seconds from its start to its first answer."""
    log: IO[str]

    def gpu_share(self) -> float | None:
        """Share of the layers that llama.cpp put on the GPU, by its log; None of another server."""
        # Not `seek`: the server writes at the position that both share.
        text = os.pread(self.log.fileno(), _LOG_BYTES, 0).decode("utf-8", "replace")
        found = _OFFLOADED.search(text)
        if found:
            return int(found[1]) / int(found[2])
        return 0.0 if "llama" in text else None


@contextmanager
def _started(server: Startable, port: int) -> Iterator[_Started]:
    """A server, once it answers. The process and its children end with the block."""
    started = time.monotonic()
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
            yield _Started(f"http://127.0.0.1:{port}{server.path}", time.monotonic() - started, log)
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
