"""python benchmarks/service.py (after `make test`)

The HTTP service under load, as JSON: 50 clients post 25 jobs a second while a worker decides, GET /health in the same run, a
page of 50 out of 100,000 jobs, and memory and processor time of the idle API process.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any

import httpx

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from harness.service.jobs import JobFilter, JobStore, NewJob
from tests.fakes.process import fake_server
from tests.fixtures.runs import Lab
from tests.service.conftest import Served, service_lab, start

PER_S, CLIENTS = 25, 50
TICKERS = ("AAPL", "IBM", "MSFT", "GOOG")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=20.0)
    parser.add_argument("--jobs", type=int, default=100_000)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder, fake_server() as models:
        print(json.dumps(page_of_many(Path(folder) / "many", options.jobs) | load(Path(folder), models, options.seconds)))


def page_of_many(folder: Path, count: int) -> dict[str, Any]:
    """Seconds of one page, filtered and not, out of so many jobs."""
    store = JobStore(folder / "jobs.sqlite", is_durable=False)
    new = NewJob("local", "AAPL", "2012-06-15", "gpt", "2026-11", "q", "h", {"ticker": "AAPL"}, lambda repeat: "{}", fresh=True)
    with store._change() as database:
        for number in range(count):
            values = store._values(new, None) | {"question": str(number), "ticker": TICKERS[number % len(TICKERS)]}
            marks = ", ".join("?" * len(values))
            database.execute(f"INSERT INTO jobs ({', '.join(values)}) VALUES ({marks})", list(values.values()))
    first_s = _seconds(lambda: store.page(JobFilter()))
    last_s = _seconds(lambda: store.page(JobFilter(), cursor=60))
    filtered_s = _seconds(lambda: store.page(JobFilter(ticker="IBM", status="pending", owner="local")))
    store.close()
    return {"jobs": count, "page_s": first_s, "last_page_s": last_s, "filtered_page_s": filtered_s}


def _seconds(step: Callable[[], object]) -> float:
    began = time.perf_counter()
    step()
    return round(time.perf_counter() - began, 4)


def load(folder: Path, models: Any, seconds: float) -> dict[str, Any]:
    """Latencies of POST and of GET /health in the same run, and whether every job ended once."""
    lab: Lab = service_lab(folder, models)
    service = start(lab, "--rate", "1000")
    try:
        idle = _idle(service)
        posts, health = asyncio.run(_clients(service, seconds))
        began = time.monotonic()
        counts = _wait_for_all(service)
        paid = models.ledger()["answered"]
        return {
            "posts": len(posts),
            "post_ms": _spread(posts),
            "health_ms": _spread(health),
            "drained_s": round(time.monotonic() - began, 1),
            "statuses": counts,
            "answers_per_job": paid / len(posts),
            "idle_api": idle,
        }
    finally:
        service.stop()
        lab.close()


async def _clients(service: Served, seconds: float) -> tuple[list[float], list[float]]:
    """50 clients share the rate; a further one asks for /health as often."""
    limits = httpx.Limits(max_connections=CLIENTS + 1, max_keepalive_connections=CLIENTS + 1)
    async with httpx.AsyncClient(base_url=service.url, limits=limits, timeout=60) as http:
        ends_at = time.monotonic() + seconds

        async def post(number: int) -> None:
            body = {"ticker": TICKERS[number % len(TICKERS)], "date": "2012-06-15", "fresh": True}
            answer = await http.post("/jobs", json=body)
            assert answer.status_code == 202, answer.text

        async def get(number: int) -> None:
            (await http.get("/health")).raise_for_status()

        async def client(first_s: float, every_s: float, ask: Callable[[int], Awaitable[None]]) -> list[float]:
            await asyncio.sleep(first_s)
            latencies: list[float] = []
            due = time.monotonic()
            while due < ends_at:
                began = time.perf_counter()
                await ask(len(latencies))
                latencies.append(time.perf_counter() - began)
                due += every_s
                await asyncio.sleep(max(0.0, due - time.monotonic()))
            return latencies

        every_s = CLIENTS / PER_S
        posting = [client(number * every_s / CLIENTS, every_s, post) for number in range(CLIENTS)]
        *posted, health = await asyncio.gather(*posting, client(0.0, 1 / PER_S, get))
    return [latency for latencies in posted for latency in latencies], health


def _wait_for_all(service: Served) -> dict[str, int]:
    while True:
        counts = {
            status: service.http.get("/jobs", params={"status": status, "limit": 1}).json()["total"]
            for status in ("pending", "running", "completed", "failed")
        }
        if not counts["pending"] + counts["running"]:
            return counts
        time.sleep(0.5)


def _spread(latencies: Sequence[float]) -> dict[str, float]:
    ordered = sorted(latencies)
    return {
        "median": round(1000 * statistics.median(ordered), 1),
        "p99": round(1000 * ordered[min(len(ordered) - 1, int(0.99 * len(ordered)))], 1),
        "max": round(1000 * ordered[-1], 1),
    }


def _idle(service: Served, seconds: float = 10.0) -> dict[str, float]:
    """Memory and share of a core of the API process while nothing is asked."""
    service.http.get("/health").raise_for_status()
    pid, ticks = service.process.pid, os.sysconf("SC_CLK_TCK")

    def cpu_s() -> float:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / ticks

    began = cpu_s()
    time.sleep(seconds)
    status = Path(f"/proc/{pid}/status").read_text()
    rss_kb = int(status.partition("VmRSS:")[2].split()[0])
    return {"rss_mb": round(rss_kb / 1024, 1), "cpu_percent": round(100 * (cpu_s() - began) / seconds, 2)}


if __name__ == "__main__":
    main()
