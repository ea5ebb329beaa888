"""python -m benchmarks.gpu (after `make demo`): a server of this machine; with --cpu, a tiny model on its CPU

Measures what a decision costs on this machine: runs the demo's pipeline at 1, 4 and 16 slots with the power meter on, prints
one JSON object, and writes a hardware card, which `plan` and `report` use for the model that it names (docs/costs.md).

A running Ollama (port 11434), llama-server (8080) or vLLM (8000) is used as it is. Otherwise the first one that is installed is
started on a free port and ended afterwards: Ollama with the models that it has, llama-server with --model FILE.gguf, vLLM with
--model, and the package xllamacpp with a packaged tiny model. Nothing beyond this machine is asked.
"""

from __future__ import annotations

import argparse
import datetime as dt
import json
import os
import platform
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow.parquet as pq
import yaml

from benchmarks import gpu_servers
from benchmarks.gpu_servers import Served
from harness.errors import InvalidInput
from harness.experiment import hardware_cards, yaml_file
from harness.experiment.hardware_cards import CardModel, CardSetting, HardwareCard
from harness.money import meter
from reports.money import machine_time
from reports.money.hardware import PowerReading, counted_joules, energy_used, idle_watts, parse_readings

ROOT = Path(__file__).resolve().parents[1]
CARDS = ROOT / "experiments" / hardware_cards.FOLDER
DATES = ("2012-03-15", "2012-06-15", "2012-09-14", "2012-12-14")
TICKERS = ("AAPL", "GOOG", "IBM", "MSFT")
IDLE_S = 5.0
"""Seconds before each run in which the meter sees the idle power."""
SMALL_CELLS = {1: 1, 4: 1, 16: 2}
"""Decisions per setting on a CPU: all settings together take less than four minutes on two quiet cores."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cpu", action="store_true", help="a packaged tiny model and a smaller demo, on this machine's CPU")
    parser.add_argument("--url", help="address of the server, if it is not found by itself")
    parser.add_argument("--provider", choices=["ollama", "openai_compatible"], help="with --url")
    parser.add_argument("--model", help="name of the model, or a GGUF file; default: the first that the server has")
    parser.add_argument("--slots", type=int, nargs="+", default=[1, 4, 16])
    parser.add_argument("--cells", type=int, help="decisions per setting; default: twice the slots, 4 to 16; --cpu: 1 or 2")
    parser.add_argument("--tokens", type=int, help="most output tokens of one answer; default: 120, --cpu: 48")
    parser.add_argument("--usd-per-hour", type=float, help="rental price of the machine, for the cost of a decision")
    parser.add_argument("--by", default="", help="who measures")
    parser.add_argument("--card", type=Path, help="file to write; default: experiments/hardware/MACHINE-MODEL.yaml")
    options = parser.parse_args()
    with gpu_servers.serving(options) as served:
        settings = [_measure(served, slots, options) for slots in options.slots]
    card = _card(served, settings, options)
    path = options.card or CARDS / f"{_slug(card.machine)}-{_slug(served.model)}.yaml"
    if path.exists():
        card = hardware_cards.merged(hardware_cards.parse(yaml_file.load(path)), card)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(card.to_yaml(), encoding="utf-8")
    print(json.dumps({"card": str(path), "settings": [setting.to_plain() for setting in settings]}, indent=2))


# --- one setting ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Measured:
    """One number of slots: the figures of the card, and those that only this run shows."""

    setting: CardSetting
    cells: int
    usable: int
    seconds: float
    idle_watts: float | None
    counter_gap: float | None
    """(our energy - the counter's) / the counter's, over the same span."""

    def to_plain(self) -> dict[str, Any]:
        gap = None if self.counter_gap is None else round(self.counter_gap, 4)
        extra = {"cells": self.cells, "usable": self.usable, "seconds": round(self.seconds, 1), "idle_watts": self.idle_watts}
        return self.setting.model_dump(mode="json") | extra | {"ours_against_counter": gap}


def _measure(served: Served, slots: int, options: argparse.Namespace) -> Measured:
    default = SMALL_CELLS[min(SMALL_CELLS, key=lambda known: abs(known - slots))] if options.cpu else max(4, 2 * slots)
    cells = min(len(DATES) * len(TICKERS), options.cells or default)
    with tempfile.TemporaryDirectory(prefix="gpu-") as name:
        folder = Path(name)
        _describe(folder, served, slots, cells, options)
        with _metered(folder / "power.jsonl"):
            time.sleep(IDLE_S)
            command = [sys.executable, "-m", "harness", "run", "gpu.yaml", "--yes"]
            done = subprocess.run(command, cwd=folder, env=gpu_servers.environment(), capture_output=True, text=True)
        if done.returncode:
            sys.exit(f"the run at {slots} slots ended with {done.returncode}:\n{done.stdout[-2000:]}{done.stderr[-2000:]}")
        (run,) = [path.parent for path in folder.glob("results/gpu/*/manifest.json")]
        power = folder / "power.jsonl"
        readings = parse_readings(power.read_text().splitlines()) if power.exists() else []
        tables = [pq.read_table(run / f"{table}.parquet").to_pandas() for table in ("calls", "cells")]
        return figures(tables[0], tables[1], readings, slots, options.usd_per_hour)


def _describe(folder: Path, served: Served, slots: int, cells: int, options: argparse.Namespace) -> None:
    dates = DATES[: -(-cells // len(TICKERS))]
    tokens, material = options.tokens or (48 if options.cpu else 120), 120 if options.cpu else 300
    model = {"provider": served.provider, "model": served.model, "server": "measured", "temperature": 0.7, "seed": "per_repeat"}
    experiment = {
        "name": "gpu",
        "tickers": list(TICKERS[: -(-cells // len(dates))]),
        "dates": list(dates),
        "repeats": 1,
        "data": "demo",
        "pipeline": {"max_output_tokens": {"all": tokens}, "history_tokens": material}
        | {"budget_tokens": {"market": material} | dict.fromkeys(("sentiment", "news", "fundamentals"), 100)},
        "models": {"measured": model | ({"num_ctx": 4096} if served.provider != "openai_compatible" else {})},
    }
    server = {"provider": served.provider, "parallel": slots, "url": served.url, "hosted": False}
    (folder / "gpu.yaml").write_text(yaml.safe_dump(experiment))
    (folder / "servers.yaml").write_text(yaml.safe_dump({"measured": server}))


@contextmanager
def _metered(path: Path) -> Iterator[None]:
    """Record the GPU's power while the block runs; nothing on a machine without one."""
    try:
        with meter.nvml() as read:
            stop = threading.Event()
            thread = threading.Thread(target=meter.sample, args=(read, path, stop, 0.1))
            thread.start()
            try:
                yield
            finally:
                stop.set()
                thread.join()
    except InvalidInput:
        yield


def figures(
    calls: pd.DataFrame, cells: pd.DataFrame, readings: list[PowerReading], slots: int, usd_per_hour: float | None
) -> Measured:
    """The figures of one run from its tables and the meter's readings."""
    answered = calls[calls["outcome"] == "answered"].assign(start=calls["started_at"].map(lambda at: at.timestamp()))
    spans = list(zip(answered["start"], answered["start"] + answered["duration_s"], strict=True))
    first, last = min(start for start, _ in spans), max(end for _, end in spans)
    decisions, busy_s = len(cells), sum(machine_time.shares(spans))
    energy, counted = energy_used(readings, first, last, 0.0), counted_joules(readings, first, last)
    per_decision = {
        "joules_per_decision": None if energy is None else energy / decisions,
        "counter_joules_per_decision": None if counted is None else counted / decisions,
        "usd_per_decision": None if usd_per_hour is None else busy_s / 3600 * usd_per_hour / decisions,
    }
    fresh = answered["input_tokens"] - answered["cached_tokens"].fillna(0)
    setting = CardSetting(
        slots=slots,
        prefill_tokens_per_s=_rounded(_rate(fresh, answered["prefill_s"]) or _rate(fresh, answered["ttft_s"]) or 1.0),
        decode_tokens_per_s=_rounded(_rate(answered["output_tokens"], answered["decode_s"]) or _by_duration(answered)),
        output_tokens_per_s=_rounded(float(answered["output_tokens"].sum()) / (last - first)),
        first_token_s=_rounded(float(answered["ttft_s"].median())) if answered["ttft_s"].notna().any() else None,
        queued_s=_rounded(float(answered["queued_s"].mean())),
        server_queue_s=_rounded(float(waits.mean())) if (waits := answered["server_queue_s"].dropna()).size else None,
        slots_busy=min(1.0, _rounded(float(answered["duration_s"].sum()) / slots / (last - first))),
        loads=int((answered["load_s"].fillna(0) > _LOADED_S).sum()),
        memory_gib=_memory_gib(),
        seconds_per_decision=_rounded(busy_s / decisions),
        watts=None if energy is None else _rounded(energy / (last - first)),
        **{name: None if value is None else _rounded(value) for name, value in per_decision.items()},
    )
    gap = None if energy is None or not counted else energy / counted - 1
    return Measured(setting, decisions, int(cells["rating"].notna().sum()), last - first, idle_watts(readings, spans), gap)


_LOADED_S = 0.5
"""A longer load time is a load; Ollama 0.17 reports up to 0.4 s for a model that is there."""


def _rate(tokens: pd.Series[Any], seconds: pd.Series[Any]) -> float | None:
    is_known = tokens.gt(0) & seconds.gt(0)
    total_tokens, total_s = float(tokens[is_known].sum()), float(seconds[is_known].sum())
    return total_tokens / total_s if total_s else None


def _by_duration(answered: pd.DataFrame) -> float:
    return float(answered["output_tokens"].sum() / answered["duration_s"].sum())


def _rounded(value: float) -> float:
    """Four significant digits."""
    return float(f"{value:.4g}")


def _memory_gib() -> float | None:
    import pynvml

    try:
        pynvml.nvmlInit()
        handle = pynvml.nvmlDeviceGetHandleByIndex(0)
        return round(int(pynvml.nvmlDeviceGetMemoryInfo(handle).used) / 2**30, 1)
    except pynvml.NVMLError:
        return None


# --- the card -------------------------------------------------------------------------------------------------------------


def _card(served: Served, settings: list[Measured], options: argparse.Namespace) -> HardwareCard:
    idle = [measured.idle_watts for measured in settings if measured.idle_watts is not None]
    machine, versions = _machine(is_gpu=not options.cpu)
    return HardwareCard(
        machine=machine,
        provider=served.provider,
        server=served.server,
        model=CardModel(name=served.model, digest=served.digest, quantisation=served.quantisation),
        settings=tuple(measured.setting for measured in settings),
        idle_watts=_rounded(sum(idle) / len(idle)) if idle else None,
        versions=versions | {"harness": version("tradingagents-harness"), "python": platform.python_version()},
        measured=dt.date.today(),
        by=options.by,
    )


def _machine(*, is_gpu: bool) -> tuple[str, dict[str, str]]:
    """Name of the GPU and its driver's version, else the CPU."""
    import pynvml

    if is_gpu:
        try:
            pynvml.nvmlInit()
            name = str(pynvml.nvmlDeviceGetName(pynvml.nvmlDeviceGetHandleByIndex(0)))
            return name, {"driver": str(pynvml.nvmlSystemGetDriverVersion())}
        except pynvml.NVMLError:
            pass
    return f"{_cpu()}, {os.cpu_count()} cores", {}


def _cpu() -> str:
    info = Path("/proc/cpuinfo")
    lines = info.read_text().splitlines() if info.exists() else []
    return next((line.partition(":")[2].strip() for line in lines if line.startswith("model name")), platform.machine())


def _slug(text: str) -> str:
    return "-".join("".join(letter if letter.isalnum() else " " for letter in text.lower()).split())


if __name__ == "__main__":
    main()
