"""python -m benchmarks.scale (after `make demo`)

What a large matrix costs the runner and Redis, as JSON: expand, freeze in name, feed and follow, with instant fake cells.

Everything is the runner's own code but the workers: a thread takes messages off the queue and says that their cells ended.
"""

from __future__ import annotations

import argparse
import json
import tempfile
import threading
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import redis

from harness.cells import Cell
from harness.checking.resolved import resolve
from harness.experiment import matrix, spec
from harness.experiment.spec import Experiment
from harness.planning import plan
from harness.queue import control, registry
from harness.queue.broker import NAMESPACE, make_broker, queue_name
from harness.queue.control import CellEvent
from harness.queue.feed import Feed
from harness.queue.private_redis import private_redis
from harness.queue.registry import RunInfo

TICKERS = 100


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--cells", type=int, nargs="+", default=[1_000, 10_000, 100_000])
    asked = parser.parse_args().cells
    measure(TICKERS)  # what is imported once is not growth
    told = [measure(count) for count in asked]
    first, last = told[0], told[-1]
    growth = (last["expand_s"] + last["follow_s"]) / (first["expand_s"] + first["follow_s"])
    linear = last["cells"] / first["cells"]
    print(json.dumps({"sizes": told, "growth": round(growth, 1), "growth_if_linear": round(linear, 1)}, indent=2))


def measure(count: int) -> dict[str, Any]:
    """Expand, plan, feed and follow a matrix of about `count` cells."""
    with tempfile.TemporaryDirectory(prefix="scale-") as name:
        folder = Path(name)
        experiment = spec.load(_describe(folder, count), {})
        cells, expand_s = _timed(lambda: {cell.cell_id: cell for cell in matrix.expand(experiment)[:count]})
        planned_s = _plan(experiment, list(cells.values()), folder)
        with private_redis(folder / "redis") as url:
            followed = _follow(url, cells)
        return {"cells": len(cells), "expand_s": round(expand_s, 2), "plan_s": planned_s, **followed, "rss_mb": _peak_mb()}


def _describe(folder: Path, count: int) -> Path:
    import yaml

    repeats = max(1, count // (TICKERS * 250))
    dates = count // (TICKERS * repeats)
    experiment = {
        "name": "scale",
        "tickers": [f"T{number}" for number in range(TICKERS)],
        "dates": {"from": "2010-01-04", "to": "2012-12-31", "every_sessions": max(1, 700 // dates), "non_session": "previous"},
        "repeats": repeats,
        "data": "demo",
        "models": {"gpt": {"provider": "openai", "model": "gpt-5", "reasoning_effort": "low"}},
    }
    path = folder / "scale.yaml"
    path.write_text(yaml.safe_dump(experiment))
    return path


def _plan(experiment: Experiment, cells: list[Cell], folder: Path) -> float:
    """Seconds of the plan: forecast, caps, and what the matrix can prove."""
    resolved = resolve(experiment, folder)
    where = plan.Where(str(folder / "results"), folder / "snapshots")
    return round(_timed(lambda: plan.make(resolved, cells, where))[1], 2)


def _follow(url: str, cells: dict[str, Cell]) -> dict[str, Any]:
    first = next(iter(cells.values()))
    pipelines = registry.pipelines_of([first])
    info = RunInfo(run_id="scale-run", experiment="scale", terms={}, prices={}, pipelines=pipelines, code="c0de" * 16)
    with redis.Redis.from_url(url) as client:
        broker = make_broker(url)
        feed = Feed(broker, info, cells)
        queue = queue_name(info.run_id, info.code, "hosted")
        worker = threading.Thread(target=_work, args=(url, info.run_id, queue, len(cells)), daemon=True)
        worker.start()
        ended, most = 0, 0
        started = time.monotonic()
        while feed.left:
            feed.fill()
            for event in control.read_events(client, info.run_id, wait_s=0.1):
                feed.ended(event.cell_id)
                ended += 1
            most = max(most, int(client.info("memory")["used_memory"]))
        broker.close()
    return {"follow_s": round(time.monotonic() - started, 2), "ended": ended, "redis_peak_mb": round(most / 2**20, 1)}


def _work(url: str, run_id: str, queue: str, count: int) -> None:
    """A worker of which each cell ends at once."""
    with redis.Redis.from_url(url) as client:
        done = 0
        while done < count:
            taken: Any = client.lpop(f"{NAMESPACE}:{queue}", 64)
            if not taken:
                time.sleep(0.002)
                continue
            with client.pipeline(transaction=False) as pipe:
                for raw in client.hmget(f"{NAMESPACE}:{queue}.msgs", taken):
                    cell = Cell.from_json(json.loads(raw)["args"][2])
                    pipe.xadd(control.events_key(run_id), asdict(CellEvent(cell.cell_id, "ok")))
                pipe.hdel(f"{NAMESPACE}:{queue}.msgs", *taken)
                pipe.execute()
            done += len(taken)


def _timed(work: Callable[[], Any]) -> tuple[Any, float]:
    started = time.monotonic()
    done = work()
    return done, time.monotonic() - started


def _peak_mb() -> int:
    import resource

    return round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024)


if __name__ == "__main__":
    main()
