"""python -m benchmarks.gpu (after `make demo`): a server of this machine; with --cpu, a tiny model on its CPU

Measures what a decision costs on this machine: runs the demo's pipeline at 1, 4 and 16 slots with the power meter on, prints
one JSON object, and writes a hardware card, which `plan` and `report` use for the model that it names (docs/costs.md).

A running Ollama (port 11434), llama-server (8080) or vLLM (8000) that has the model is used as it is. Otherwise the first one
that is installed and has it is started on a free port and ended afterwards: Ollama with the models that it has, llama-server
with --model FILE.gguf, vLLM with --model, and the package xllamacpp with a packaged tiny model. Nothing beyond this machine is
asked.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import platform
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pyarrow.parquet as pq
import yaml

from benchmarks import gpu_figures, gpu_servers
from benchmarks.gpu_figures import Measured
from benchmarks.gpu_servers import Served
from harness.errors import InvalidInput
from harness.experiment import hardware_cards, yaml_file
from harness.experiment.hardware_cards import CardModel, HardwareCard
from harness.money import meter
from harness.queue.process import die_with_parent
from reports.money.hardware import parse_readings

ROOT = Path(__file__).resolve().parents[1]
CARDS = ROOT / "experiments" / hardware_cards.FOLDER
DAYS = ("03-15", "06-15", "09-14", "12-14")
YEARS = (2012, 2011, 2010)
"""One for each setting in turn: a prompt of the setting before would be read from the server's cache."""
TICKERS = ("AAPL", "GOOG", "IBM", "MSFT")
IDLE_S = 5.0
"""Seconds before each run in which the meter sees the idle power."""
SMALL_CELLS = {1: 1, 4: 1, 16: 2}
"""Decisions per setting on a CPU: all settings together take less than four minutes on two quiet cores."""
COUNTER_AGREES_WITHIN = 0.05
"""Largest relative difference between our energy and the GPU's own counter that needs no warning."""


def main() -> None:
    options = read_options()
    with gpu_servers.serving(options) as served:
        on_gpu = not options.cpu and served.gpu_share != 0 and (options.here or is_here(served.url))
        subject = _subject(served, options.machine, on_gpu=on_gpu)
        path = options.card or CARDS / f"{slug(subject['machine'])}-{slug(served.model)}.yaml"
        earlier = hardware_cards.parse(yaml_file.load(path)) if path.exists() else None
        if earlier is not None and earlier.subject != HardwareCard(**subject, settings=earlier.settings).subject:
            sys.exit(f"{path} is a card of {', '.join(earlier.subject)}: remove it, or write another one with --card FILE")
        settings = [
            _measure(served, slots, YEARS[index % len(YEARS)], options, on_gpu=on_gpu)
            for index, slots in enumerate(options.slots)
        ]
    card = _card(subject, settings, options.by)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text((card if earlier is None else hardware_cards.merged(earlier, card)).to_yaml(), encoding="utf-8")
    print(json.dumps({"card": str(path), "settings": [setting.to_plain() for setting in settings]}, indent=2))
    for setting in settings:
        if setting.counter_gap is not None and abs(setting.counter_gap) > COUNTER_AGREES_WITHIN:
            gap, slots = setting.counter_gap, setting.setting.slots
            print(f"warning: at {slots} slots our energy differs from the GPU's own counter by {gap:+.0%}", file=sys.stderr)


def read_options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cpu", action="store_true", help="a packaged tiny model and a smaller demo, on this machine's CPU")
    parser.add_argument("--url", help="address of the server, if it is not found by itself")
    parser.add_argument("--provider", choices=["ollama", "openai_compatible"], help="with --url; default: what answers there")
    parser.add_argument("--model", help="name of the model, or a GGUF file; default: the first that the server has")
    parser.add_argument("--slots", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--cells", type=int, help="decisions per setting; default: twice the slots, 4 to 16; on a CPU: 1 or 2")
    parser.add_argument("--tokens", type=int, help="most output tokens of one answer; default: 120, on a CPU: 48")
    parser.add_argument("--usd-per-hour", type=float, help="rental price of the machine, for the cost of a decision")
    parser.add_argument("--here", action="store_true", help="the server at --url is on this machine, in a container")
    parser.add_argument(
        "--machine", help="name of the machine; default: its GPU, else its CPU; needed if --url is another machine"
    )
    parser.add_argument("--by", default="", help="who measures")
    parser.add_argument("--card", type=Path, help="file to write; default: experiments/hardware/MACHINE-MODEL.yaml")
    options = parser.parse_args()
    if options.url and not options.machine and not (options.here or is_here(options.url)):
        parser.error(f"{options.url} is another machine: name it with --machine; if it is a container on this one, add --here")
    return options


def is_here(url: str) -> bool:
    """Whether a server computes on this machine, whose power the meter reads."""
    return urlsplit(url).hostname in ("127.0.0.1", "localhost", "::1")


# --- one setting ----------------------------------------------------------------------------------------------------------


def _measure(served: Served, slots: int, year: int, options: argparse.Namespace, *, on_gpu: bool) -> Measured:
    small = SMALL_CELLS[min(SMALL_CELLS, key=lambda known: abs(known - slots))]
    default = small if served.gpu_share == 0 else max(4, 2 * slots)
    cells = min(len(DAYS) * len(TICKERS), options.cells or default)
    with tempfile.TemporaryDirectory(prefix="gpu-") as name:
        folder = Path(name)
        _describe(folder, served, slots, cells, year, options)
        with _metered(folder / "power.jsonl", on_gpu=on_gpu) as memory:
            time.sleep(IDLE_S)
            command = [sys.executable, "-m", "harness", "run", "gpu.yaml", "--yes"]
            done = subprocess.run(
                command,
                cwd=folder,
                env=gpu_servers.environment(),
                capture_output=True,
                text=True,
                preexec_fn=partial(die_with_parent, os.getpid(), signal.SIGTERM),
            )
        if done.returncode:
            sys.exit(f"the run at {slots} slots ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        (run,) = [path.parent for path in folder.glob("results/gpu/*/manifest.json")]
        power = folder / "power.jsonl"
        readings = parse_readings(power.read_text().splitlines()) if power.exists() else []
        calls, cells_table = (pq.read_table(run / f"{table}.parquet").to_pandas() for table in ("calls", "cells"))
    speeds = None if gpu_figures.has_times(calls) else gpu_figures.streamed_speeds(served.url, served.model, slots)
    measured = gpu_figures.figures(calls, cells_table, readings, slots, options.usd_per_hour, speeds)
    return replace(measured, setting=measured.setting.model_copy(update={"memory_gib": memory.gib}))


def _describe(folder: Path, served: Served, slots: int, cells: int, year: int, options: argparse.Namespace) -> None:
    dates = [f"{year}-{day}" for day in DAYS[: -(-cells // len(TICKERS))]]
    tokens, material = options.tokens or (48 if served.gpu_share == 0 else 120), 120 if served.gpu_share == 0 else 300
    model = {"provider": served.provider, "model": served.model, "server": "measured", "temperature": 0.7, "seed": "per_repeat"}
    experiment = {
        "name": "gpu",
        "tickers": list(TICKERS[: -(-cells // len(dates))]),
        "dates": dates,
        "repeats": 1,
        "data": "demo",
        "pipeline": {"max_output_tokens": {"all": tokens}, "history_tokens": material}
        | {"budget_tokens": {"market": material} | dict.fromkeys(("sentiment", "news", "fundamentals"), 100)},
        "models": {
            "measured": model | ({"num_ctx": gpu_servers.CONTEXT_TOKENS} if served.provider != "openai_compatible" else {})
        },
    }
    # On a slow CPU the first token of one of many requests may take more than the usual five minutes.
    server = {"provider": served.provider, "parallel": slots, "url": served.url, "hosted": False, "timeout": "30m"}
    (folder / "gpu.yaml").write_text(yaml.safe_dump(experiment))
    (folder / "servers.yaml").write_text(yaml.safe_dump({"measured": server}))


@dataclass
class _Memory:
    """The most memory of the machine's GPUs in use while it was looked at."""

    gib: float | None = None

    def look(self) -> None:
        import pynvml

        gpus = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        used = sum(int(pynvml.nvmlDeviceGetMemoryInfo(gpu).used) for gpu in gpus)
        self.gib = max(self.gib or 0.0, round(used / 2**30, 1))


@contextmanager
def _metered(path: Path, *, on_gpu: bool) -> Iterator[_Memory]:
    """Record the GPU's power and memory while the block runs; nothing if no GPU computes."""
    memory, stop = _Memory(), threading.Event()
    with ExitStack() as stack:
        if on_gpu:
            try:
                read = stack.enter_context(meter.nvml())
            except InvalidInput:
                on_gpu = False
        if on_gpu:

            def read_both() -> meter.Power:
                memory.look()
                return read()

            thread = threading.Thread(target=meter.sample, args=(read_both, path, stop, 0.1))
            thread.start()
            stack.callback(thread.join)
            stack.callback(stop.set)
        yield memory


# --- the card -------------------------------------------------------------------------------------------------------------


def _subject(served: Served, machine: str | None, *, on_gpu: bool) -> dict[str, Any]:
    """The fields of the card that are known before it is measured."""
    name, versions = _machine(on_gpu=on_gpu)
    return {
        "machine": machine or name,
        "provider": served.provider,
        "server": served.server,
        "model": CardModel(name=served.model, digest=served.digest, quantisation=served.quantisation),
        "load_s": None if served.load_s is None else gpu_figures.rounded(served.load_s),
        "gpu_share": served.gpu_share,
        "versions": versions | {"harness": version("tradingagents-harness"), "python": platform.python_version()},
        "measured": dt.date.today(),
    }


def _card(subject: dict[str, Any], settings: list[Measured], by: str) -> HardwareCard:
    idle = [measured.idle_watts for measured in settings if measured.idle_watts is not None]
    return HardwareCard(
        **subject,
        settings=tuple(measured.setting for measured in settings),
        idle_watts=gpu_figures.rounded(sum(idle) / len(idle)) if idle else None,
        by=by,
    )


def _machine(*, on_gpu: bool) -> tuple[str, dict[str, str]]:
    """Name of the GPUs and their driver's version, else the CPU."""
    import pynvml

    if on_gpu:
        try:
            pynvml.nvmlInit()
            gpus = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
            names = Counter(str(pynvml.nvmlDeviceGetName(gpu)) for gpu in gpus)
            shown = ", ".join(name if count == 1 else f"{count} x {name}" for name, count in names.items())
            return shown, {"driver": str(pynvml.nvmlSystemGetDriverVersion())}
        except pynvml.NVMLError:
            pass
    return f"{_cpu()}, {os.cpu_count()} cores", {}


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def slug(text: str) -> str:
    """Words of a file's name; short, because servers.yaml takes names of at most 64 letters."""
    words = "".join(letter if letter.isascii() and letter.isalnum() else " " for letter in text.lower()).split()
    return "-".join(word for word in words if word not in _EMPTY_WORDS)[:31].strip("-")


_EMPTY_WORDS = frozenset({"r", "tm", "cpu", "processor", "with", "nvidia", "geforce", "gpu"})


if __name__ == "__main__":
    main()
