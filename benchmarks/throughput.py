"""python -m benchmarks.throughput (after `make demo`)

How fast cells go through with everything on, as JSON: efficiency, CPU, memory, start-up, and where time goes.

A cell has 12 calls, 9 of them one after another; ideal = waves of cells x 9 x latency; actual = first request to last receipt.
The fake model server answers after `latency-s`; journal, ledger, leases, slots, Parquet and its fsync are on, as in any run.
Start-up is from the command to its first request, with the cases frozen before. `machine_busy` says how near all cores (the
fake's and Redis's work included) were to their limit meanwhile.
"""

from __future__ import annotations

import argparse
import json
import math
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks import bare
from benchmarks.watching import Watch, watching
from harness.experiment import matrix, spec
from harness.queue.private_redis import private_redis
from harness.storage.folder import open_folder
from harness.storage.snapshots import freeze_cells
from tests.fakes.process import FakeModels, fake_server

ROOT = Path(__file__).resolve().parents[1]

CRITICAL_PATH = bare.STEPS


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, default=256)
    parser.add_argument("--at-a-time", type=int, default=64)
    parser.add_argument("--latency-s", type=float, default=0.5)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--bare", action="store_true", help="then the same work with nothing kept (bare.py), as a ratio")
    parser.add_argument("--profile", action="store_true", help="profile the worker processes (slower) and say what costs most")
    print(json.dumps(measure(parser.parse_args()), indent=2))


def measure(asked: argparse.Namespace) -> dict[str, Any]:
    """One run of `harness run` with `harness worker` beside it, watched from outside."""
    with tempfile.TemporaryDirectory(prefix="throughput-") as name:
        folder = Path(name)
        with private_redis(folder / "broker") as broker, fake_server("--latency-s", str(asked.latency_s)) as models:
            _describe(folder, models, asked)
            watch, started_at = _run(folder, broker, asked)
            times = _times(folder)
            told = _figures(asked, times, watch, models.ledger())
        told["startup_s"] = round(times["first_request"] - started_at, 2)
        if asked.bare:
            told |= _compared(told, bare.measure(asked, round(times["characters"]), told["ideal_s"]))
        if asked.profile:
            told["profile"] = _profile(folder)
        return told


def _run(folder: Path, broker: str, asked: argparse.Namespace) -> tuple[Watch, float]:
    """What was seen, and when the command was given."""
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
    if asked.profile:
        environment |= {"PYTHONPATH": f"{Path(__file__).parent / 'profiling'}:{ROOT}", "PROFILE": str(folder)}
    each = math.ceil(asked.at_a_time / asked.workers)
    words = ["--processes", str(asked.workers), "--concurrency", str(each), "--restart-after", "1000000"]
    _freeze(folder)
    worker = _harness(folder, environment, "worker", "--broker", broker, *words)
    try:
        with watching(worker.pid) as watch:
            started_at = time.time()
            limit = ["--limit", str(asked.cells)]
            code = _harness(folder, environment, "run", "throughput.yaml", "--yes", "--broker", broker, *limit).wait(1800)
    finally:
        worker.terminate()
        worker.wait(60)
    if code:
        raise SystemExit((folder / "log").read_text()[-4000:])
    return watch, started_at


def _freeze(folder: Path) -> None:
    """The inputs of all cases, before the clock starts: what a source takes to answer is no start-up."""
    cells = matrix.expand(spec.load(folder / "throughput.yaml", {}))
    freeze_cells(cells, open_folder(str(folder / "frozen")), folder / "snapshots")


def _harness(folder: Path, environment: dict[str, str], *words: str) -> subprocess.Popen[bytes]:
    with (folder / "log").open("ab") as log:
        command = [sys.executable, "-m", "harness", *words]
        return subprocess.Popen(command, cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=log, stderr=log)


def _figures(asked: argparse.Namespace, times: dict[str, float], watch: Watch, truth: dict[str, Any]) -> dict[str, Any]:
    ideal_s = math.ceil(asked.cells / asked.at_a_time) * CRITICAL_PATH * asked.latency_s
    actual_s = times["last_receipt"] - times["first_request"]
    return {
        "cells": asked.cells,
        "at_a_time": asked.at_a_time,
        "latency_s": asked.latency_s,
        "workers": asked.workers,
        "calls": truth["answered"],
        "answered_twice": truth["answered_twice"],
        "ideal_s": round(ideal_s, 2),
        "actual_s": round(actual_s, 2),
        "efficiency": round(ideal_s / actual_s, 3),
        "efficiency_by_calls": round(times["busy_s"] / asked.at_a_time / actual_s, 3),
        "call_s": round(times["call_s"], 4),
        "cpu_ms_per_cell": round(1000 * watch.worked_s / asked.cells, 1),
        "worker_rss_mb": round(max(watch.rss.values()) / 2**20),
        "machine_busy": round(watch.busy(times["first_request"], times["last_receipt"]), 3),
        "load_average": round(max(watch.load), 1),
        "cores": os.cpu_count(),
    }


def _compared(ours: dict[str, Any], plain: dict[str, float]) -> dict[str, Any]:
    """Ratios within one run: a machine that is slow today is slow for both. `lost_time` is what is lost beyond the ideal."""
    lost = [1 / efficiency - 1 for efficiency in (ours["efficiency"], plain["efficiency"])]
    cpu = ours["cpu_ms_per_cell"] / plain["cpu_ms_per_cell"]
    return {"bare": plain, "of_bare": {"cpu": round(cpu, 2), "lost_time": round(lost[0] / lost[1], 2)}}


def _times(folder: Path) -> dict[str, float]:
    """From the result tables: when the first request left, when the last cell ended, how long its critical path took."""
    import pyarrow.compute as pc
    import pyarrow.parquet as pq

    (run,) = [path.parent for path in folder.glob("results/throughput/*/manifest.json")]
    calls = pq.read_table(run / "calls.parquet", columns=["started_at", "duration_s", "message_ids"])
    messages = pq.read_table(run / "messages.parquet", columns=["message_id", "text"]).to_pylist()
    length = {row["message_id"]: len(row["text"]) for row in messages}
    receipts = [path.stat().st_mtime for path in (run / "parts").glob("*.cell.parquet")]
    call_s = pc.mean(calls["duration_s"]).as_py()
    return {
        "first_request": pc.min(calls["started_at"]).as_py().timestamp(),
        "last_receipt": max(receipts),
        "call_s": call_s,
        "characters": sum(length[name] for ids in calls["message_ids"].to_pylist() for name in ids) / calls.num_rows,
        "busy_s": len(receipts) * CRITICAL_PATH * call_s,
    }


def _describe(folder: Path, models: FakeModels, asked: argparse.Namespace) -> None:
    import yaml

    tickers = ["AAPL", "GOOG", "IBM", "MSFT"]
    dates = math.ceil(asked.cells / len(tickers))
    experiment = {
        "name": "throughput",
        "tickers": tickers,
        "dates": {"from": "2006-01-03", "to": "2012-12-31", "every_sessions": 1700 // dates, "non_session": "previous"},
        "repeats": 1,
        "data": "demo",
        "models": {"gpt": {"provider": "openai", "model": "gpt-5", "server": "cloud", "reasoning_effort": "low"}},
        "budget": {"run_usd": 10000},
    }
    parallel = asked.at_a_time * 4
    cloud = {"provider": "openai", "url": f"{models.url}/v1", "hosted": True, "parallel": parallel}
    (folder / "throughput.yaml").write_text(yaml.safe_dump(experiment))
    (folder / "servers.yaml").write_text(yaml.safe_dump({"cloud": cloud}))


def _profile(folder: Path) -> dict[str, Any]:
    """Share of the worker processes' own time by package, and the functions that cost most."""
    import pstats
    from collections import Counter

    stats = pstats.Stats(*map(str, folder.glob("*.prof")))
    packages: Counter[str] = Counter()
    lines: Counter[str] = Counter()
    for (file, line, function), (_, calls, own_s, _, _) in stats.stats.items():  # type: ignore[attr-defined]
        packages[_package(file, function)] += own_s
        lines[f"{_package(file, function)}: {Path(file).name}:{line} {function} ({calls} calls)"] += own_s
    whole = sum(packages.values())
    return {
        "share": {name: round(own_s / whole, 3) for name, own_s in packages.most_common(15)},
        "costliest_s": {name: round(own_s, 2) for name, own_s in lines.most_common(25)},
    }


def _package(file: str, function: str) -> str:
    if file == "~":
        return "waiting" if "poll" in function or "run_until" in function or "acquire" in function else "builtins"
    parts = Path(file).parts
    if "site-packages" in parts:
        return parts[parts.index("site-packages") + 1]
    return next((wing for wing in ("agents", "harness", "reports") if str(ROOT / wing) in file), "python")


if __name__ == "__main__":
    main()
