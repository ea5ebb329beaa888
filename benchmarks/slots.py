"""python -m benchmarks.slots (after `make demo`)

How busy the slots of a GPU stay while cells wait for them, as JSON: hosted, local and hybrid arms side by side.

Busy is the time that calls at the local server take, over all its slots, from its first request until the last cell that needs
it has been taken up. `loads` counts how often the server had to load a model; `overlap` is the share of that time in which the
hosted server has requests out, too.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml

from tests.fakes.process import FakeModels, fake_server

ROOT = Path(__file__).resolve().parents[1]

MONTHS = (1, 3, 4, 6, 7, 9, 10, 11, 12)
"""Of 2010, whose 15th is a session."""
LOCAL = ("llama3.1:8b", "qwen3:4b")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dates", type=int, choices=range(1, 10), default=9)
    parser.add_argument("--slots", type=int, default=2)
    parser.add_argument("--hosted-s", type=float, default=0.5)
    parser.add_argument("--local-s", type=float, default=0.8)
    print(json.dumps(measure(parser.parse_args()), indent=2))


def measure(asked: argparse.Namespace) -> dict[str, Any]:
    """One run of three arms, watched by its own tables."""
    with tempfile.TemporaryDirectory(prefix="slots-") as name, fake_server() as models:
        folder = Path(name)
        models.control(
            models=["gpt-5"],
            ollama={"models": [{"name": one} for one in LOCAL]},
            defaults={"latency_s": asked.hosted_s},
            rules=[{"model": one, "do": {"latency_s": asked.local_s}} for one in LOCAL],
        )
        _describe(folder, models.url, asked)
        environment = os.environ | {"PYTHONPATH": str(ROOT)}
        command = [sys.executable, "-m", "harness", "run", "slots.yaml", "--yes"]
        subprocess.run(command, cwd=folder, env=environment, check=True, stdout=subprocess.DEVNULL)
        (run,) = [path.parent for path in folder.glob("results/slots/*/manifest.json")]
        return _figures(run, models, asked.slots)


def _describe(folder: Path, url: str, asked: argparse.Namespace) -> None:
    ollama = {"provider": "ollama", "server": "gpu", "num_ctx": 16384, "max_output_tokens": 800}
    experiment = {
        "name": "slots",
        "tickers": ["AAPL", "MSFT"],
        "dates": [f"2010-{month:02d}-15" for month in MONTHS[: asked.dates]],
        "repeats": 1,
        "data": "demo",
        "models": {
            "gpt": {"provider": "openai", "model": "gpt-5", "server": "cloud"},
            "llama": {**ollama, "model": LOCAL[0]},
            "qwen": {**ollama, "model": LOCAL[1]},
        },
        "arms": {name: {"all": name} for name in ("gpt", "llama", "qwen")} | {"hybrid": {"deep": "gpt", "quick": "llama"}},
        "budget": {"run_usd": 1000},
    }
    servers = {
        "cloud": {"provider": "openai", "url": f"{url}/v1", "hosted": True, "parallel": 16},
        "gpu": {"provider": "ollama", "url": url, "parallel": asked.slots},
    }
    (folder / "slots.yaml").write_text(yaml.safe_dump(experiment))
    (folder / "servers.yaml").write_text(yaml.safe_dump(servers))


def _figures(run: Path, models: FakeModels, slots: int) -> dict[str, Any]:
    calls, cells = pq.read_table(run / "calls.parquet").to_pandas(), pq.read_table(run / "cells.parquet").to_pandas()
    spans = calls.assign(start=calls["started_at"].map(lambda at: at.timestamp()))
    spans["end"] = spans["start"] + spans["duration_s"]
    local, hosted = spans[spans["server"] == "gpu"], spans[spans["server"] == "cloud"]
    needing = cells[cells["arm"] != "gpt"]
    since, until = local["start"].min(), needing["started_at"].max().timestamp()
    held = (local["end"].clip(upper=until) - local["start"].clip(upper=until)).sum()
    return {
        "cells": len(cells),
        "ok": int((cells["status"] == "ok").sum()),
        "slots": slots,
        "window_s": round(until - since, 1),
        "busy": round(held / slots / (until - since), 3),
        "overlap": round(_covered(hosted, since, until) / (until - since), 3),
        "models": len(set(local["model_requested"])),
        "loads": models.ledger()["ollama_loads"],
        "load_average": round(os.getloadavg()[0], 1),
    }


def _covered(spans: Any, since: float, until: float) -> float:
    """Seconds between `since` and `until` in which at least one request is out."""
    reached, covered = since, 0.0
    for start, end in sorted(zip(spans["start"], spans["end"], strict=True)):
        covered += max(0.0, min(end, until) - max(start, reached))
        reached = max(reached, min(end, until))
    return covered


if __name__ == "__main__":
    main()
