"""python -m benchmarks.lanes (after `make test`)

The same experiment in lane `now` and in lane `batch` against the fake server, as JSON: what each cost by our tables and
by the fake's own count, whether every decision is equal byte for byte, how many files were sent, our CPU (runner, workers
and the private Redis) per cell and stage, and the most memory that each kind of process held. The CPU has three parts:
before the first cell starts (imports, plan, snapshots), while cells run, and after the last one (tables, figures and
page). `python -m benchmarks.lanes --lanes batch --cells 10000` measures a large run; `--repeats 10` makes of it 1,000 cases
decided ten times, `--depth single_call` one stage instead of nine.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import yaml

from tests.fakes.process import FakeModels, fake_server

ROOT = Path(__file__).resolve().parents[1]
TICKERS = ["AAPL", "GOOG", "IBM", "MSFT"]
STAGES = {"shallow": 9, "single_call": 1}
"""Depth -> stages of a cell."""
MODEL = "hosted-1"
INPUT_USD, OUTPUT_USD = 1.0, 10.0
"""Per million tokens in lane now; a batch costs half."""
LOOK_S = 0.5
PACE = {"HARNESS_DEFERRED_QUIET_S": "60", "HARNESS_DEFERRED_POLL_S": "0.5"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=84, help="of one arm; rounded up to whole days")
    parser.add_argument("--repeats", type=int, default=1, help="how often each case is decided")
    parser.add_argument("--depth", choices=STAGES, default="shallow")
    parser.add_argument("--ready-s", type=float, default=2.0, help="from the creation of a batch to its answers")
    parser.add_argument("--lanes", default="now,batch")
    asked = parser.parse_args()
    cases = len(TICKERS) * -(-asked.cells // asked.repeats // len(TICKERS))
    asked.cells = cases * asked.repeats
    measured = {lane: measure(lane, asked) for lane in asked.lanes.split(",")}
    report: dict[str, Any] = {"cells": asked.cells, "repeats": asked.repeats, "depth": asked.depth}
    report |= {lane: {key: value for key, value in of_lane.items() if key != "decisions"} for lane, of_lane in measured.items()}
    if {"now", "batch"} <= measured.keys():
        report["batch_price_share"] = round(measured["batch"]["cost_usd"] / measured["now"]["cost_usd"], 9)
        report["decisions_equal"] = measured["batch"]["decisions"] == measured["now"]["decisions"]
    print(json.dumps(report, indent=2))


def measure(lane: str, asked: argparse.Namespace) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="lanes-") as name, fake_server("--latency-s", "0.05") as models:
        folder = Path(name)
        _describe(folder, models, lane, asked)
        cpu_before, started = _cpu_s(), time.monotonic()
        processes, cpu_of_parts, peak_mb_at_end_of = _harness(folder, asked.cells, "run", "lanes.yaml", "--yes")
        seconds, cpu_s = time.monotonic() - started, _cpu_s() - cpu_before
        (run,) = (folder / "results" / "lanes").iterdir()
        stages = asked.cells * STAGES[asked.depth]
        figures = _figures(run, models.ledger(), lane, seconds) | {"cpu_s": round(cpu_s, 1)}
        figures["cpu_ms_per_cell_and_stage"] = round(1000 * cpu_s / stages, 1)
        per_stage = {part: round(1000 * used_s / stages, 1) for part, used_s in cpu_of_parts.items()}
        parts = {"cpu_ms_of_parts": per_stage, "runner_peak_mb_at_end_of": peak_mb_at_end_of}
        return figures | parts | {"processes": processes}


def _figures(run: Path, truth: dict[str, Any], lane: str, seconds: float) -> dict[str, Any]:
    calls, cells = (pq.read_table(run / f"{table}.parquet").to_pylist() for table in ("calls", "cells"))
    share = 0.5 if lane == "batch" else 1.0
    true_usd = share * (truth["input_tokens"] * INPUT_USD + truth["output_tokens"] * OUTPUT_USD) / 1e6
    counted = ("rating", "confidence", "rationale", "target_price", "decision_status")
    return {
        "cells_ok": sum(cell["status"] == "ok" for cell in cells),
        "cost_usd": sum(call["cost_usd"] for call in calls),
        "true_usd": true_usd,
        "input_tokens": [sum(call["input_tokens"] or 0 for call in calls), truth["input_tokens"]],
        "output_tokens": [sum(call["output_tokens"] or 0 for call in calls), truth["output_tokens"]],
        "answered": [sum(call["outcome"] == "answered" for call in calls), truth["answered"]],
        # Repeats ask the same on purpose.
        "answered_twice": truth["answered_twice"] if all(cell["repeat"] == 0 for cell in cells) else None,
        "batches": len(truth["later"]["batches"]),
        "submitted_twice": truth["later"]["submitted_twice"],
        "wall_s": round(seconds, 1),
        "decisions": {(cell["case_id"], cell["repeat"]): [cell[key] for key in counted] for cell in cells},
    }


def _describe(folder: Path, models: FakeModels, lane: str, asked: argparse.Namespace) -> None:
    days = _sessions(asked.cells // asked.repeats // len(TICKERS))
    model = {"provider": "openai", "model": MODEL, "server": "cloud", "reasoning_effort": "low", "lane": lane}
    experiment: dict[str, Any] = {"name": "lanes", "tickers": TICKERS, "dates": days, "data": "demo", "prices": "prices.yaml"}
    experiment |= {"repeats": asked.repeats, "pipeline": {"depth": asked.depth}}
    experiment |= {"models": {"paid": model}, "budget": {"run_usd": 1000}, "outcomes": {"horizons": [1]}}
    cloud = {"provider": "openai", "url": f"{models.url}/v1", "hosted": True, "parallel": 64, "api": "responses"}
    price = {"model": MODEL, "input": INPUT_USD, "output": OUTPUT_USD}
    half = {"model": MODEL, "input": INPUT_USD / 2, "output": OUTPUT_USD / 2, "tier": "batch"}
    prices = {"version": "benchmark", "prices": [price, half]}
    for name, value in (("lanes.yaml", experiment), ("servers.yaml", {"cloud": cloud}), ("prices.yaml", prices)):
        (folder / name).write_text(yaml.safe_dump(value, sort_keys=False))
    models.control(defaults={"cached_tokens": 0}, models=[MODEL], later={"ready_s": asked.ready_s})


def _sessions(count: int) -> list[str]:
    """The first trading days of 2010 and later."""
    import datetime as dt

    import agents

    day = dt.date(2010, 3, 1)
    days: list[str] = []
    while len(days) < count:
        if agents.is_session(day):
            days.append(day.isoformat())
        day += dt.timedelta(days=1)
    return days


def _harness(folder: Path, cells: int, *arguments: str) -> tuple[dict[str, Any], dict[str, float], dict[str, int]]:
    """Run a command; kind of process -> how many there were, their CPU and the peak memory of the largest; part of the run ->
    CPU seconds; part of the run -> peak memory of the runner at its end."""
    environment = os.environ | PACE | {"PYTHONPATH": str(ROOT)}
    seen: dict[int, dict[str, Any]] = {}
    cpu_of_parts = {"before": 0.0, "cells": 0.0, "after": 0.0}
    peak_mb_at_end_of: dict[str, int] = {}
    with (folder / "output").open("w") as output:
        command = [sys.executable, "-m", "harness", *arguments]
        process = subprocess.Popen(command, cwd=folder, env=environment, stdout=output, stderr=output)
        while process.poll() is None:
            for pid in _family(process.pid):
                with contextlib.suppress(OSError, IndexError, StopIteration):
                    seen[pid] = _usage(pid, is_runner=pid == process.pid)
            used_s = sum(usage["cpu_s"] for usage in seen.values())
            part = _part_of_run(folder, cells)
            cpu_of_parts[part] += used_s - sum(cpu_of_parts.values())
            if process.pid in seen:
                peak_mb_at_end_of[part] = seen[process.pid]["peak_mb"]
            time.sleep(LOOK_S)
    if process.returncode:
        sys.exit((folder / "output").read_text())
    kinds = sorted({usage["kind"] for usage in seen.values()})
    by_kind = {kind: [usage for usage in seen.values() if usage["kind"] == kind] for kind in kinds}
    processes = {
        kind: {
            "processes": len(usages),
            "cpu_s": round(sum(usage["cpu_s"] for usage in usages), 1),
            "peak_mb": max(usage["peak_mb"] for usage in usages),
        }
        for kind, usages in by_kind.items()
    }
    return processes, cpu_of_parts, peak_mb_at_end_of


def _part_of_run(folder: Path, cells: int) -> str:
    """Whether the first cell has not started yet, cells run, or the last one has ended."""
    for run in folder.glob("results/lanes/*/"):
        if (run / "parts").is_dir() and sum(name.endswith(".cell.parquet") for name in os.listdir(run / "parts")) >= cells:
            return "after"
        if (run / "deferred").is_dir():
            return "cells"
    return "before"


def _family(pid: int) -> list[int]:
    """A process and everything that it started."""
    children: list[int] = []
    with contextlib.suppress(OSError):
        for task in Path(f"/proc/{pid}/task").iterdir():
            children += [int(child) for child in (task / "children").read_text().split()]
    return [pid, *(member for child in children for member in _family(child))]


def _usage(pid: int, *, is_runner: bool) -> dict[str, Any]:
    process = Path(f"/proc/{pid}")
    command = process.joinpath("cmdline").read_text().replace("\0", " ")
    fields = process.joinpath("stat").read_text().rpartition(")")[2].split()
    peak_kb = next(line.split()[1] for line in process.joinpath("status").read_text().splitlines() if line.startswith("VmHWM"))
    is_redis = "redis-server" in command or "valkey-server" in command
    kind = "runner" if is_runner else "redis" if is_redis else "workers" if " worker " in command else "page"
    cpu_s = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return {"kind": kind, "cpu_s": cpu_s, "peak_mb": int(peak_kb) // 1024}


def _cpu_s() -> float:
    """CPU of all children that have ended, the fake server excluded while it lives."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


if __name__ == "__main__":
    main()
