"""python -m benchmarks.bare (after `make demo`)

What the same work costs with nothing kept: Dramatiq, LangGraph and ChatOpenAI as their documentation joins them.

Twelve calls in nine steps, four of them side by side, with prompts as long as the harness sends; no journal, no ledger, no
limits, no tables. Asynchronous actors, one client per process: the fastest of the usual ways. Prints {"first", "last"} in
Unix seconds. `benchmarks/throughput.py --bare` runs it after the harness, and compares.
"""

from __future__ import annotations

import argparse
import gc
import itertools
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from functools import cache
from operator import or_
from pathlib import Path
from typing import Annotated, Any, TypedDict

import dramatiq
import redis
from dramatiq.brokers.redis import RedisBroker
from dramatiq.middleware import AsyncIO
from langchain_core.messages import HumanMessage, SystemMessage
from langchain_openai import ChatOpenAI
from langgraph.graph import END, START, StateGraph

from harness.queue.process import die_with_parent

ROOT = Path(__file__).resolve().parents[1]

_TIMES = "bare:times"
_QUEUE = "bare"
_FIRST = ("market", "news", "social", "fundamentals")
_LATER = ("bull", "bear", "manager", "trader", "risky", "safe", "neutral", "judge")
STEPS = 1 + len(_LATER)
"""One after another."""


class State(TypedDict):
    """What was said so far, by role."""

    said: Annotated[dict[str, str], or_]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("redis")
    parser.add_argument("models")
    parser.add_argument("--cells", type=int, default=256)
    parser.add_argument("--at-a-time", type=int, default=64)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--characters", type=int, default=10_000, help="mean length of a prompt")
    asked = parser.parse_args()
    client = redis.Redis.from_url(asked.redis)
    broker = _broker(asked)
    gc.freeze()
    children = [_fork(asked, asked.at_a_time // asked.workers) for _ in range(asked.workers)]
    for cell in range(asked.cells):
        broker.get_actor(_QUEUE).send(cell)
    while client.llen(_TIMES) < asked.cells:
        time.sleep(0.05)
    for child in children:
        os.kill(child, signal.SIGTERM)
    times = [json.loads(one) for one in client.lrange(_TIMES, 0, -1)]
    print(json.dumps({"first": min(first for first, _ in times), "last": max(last for _, last in times)}))


def measure(asked: argparse.Namespace, characters: int, ideal_s: float) -> dict[str, float]:
    """Efficiency and CPU, measured like the harness's own; `asked` holds cells, at_a_time, workers and latency_s."""
    from benchmarks.watching import watching
    from harness.queue.private_redis import private_redis
    from tests.fakes.process import fake_server

    numbers = {"cells": asked.cells, "at-a-time": asked.at_a_time, "workers": asked.workers, "characters": characters}
    words = [word for name, value in numbers.items() for word in (f"--{name}", str(value))]
    with (
        tempfile.TemporaryDirectory(prefix="bare-") as folder,
        private_redis(Path(folder)) as broker,
        fake_server("--latency-s", str(asked.latency_s)) as models,
    ):
        command = [sys.executable, "-m", "benchmarks.bare", broker, f"{models.url}/v1", *words]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process, watching(process.pid) as watch:
            told = json.loads(process.communicate()[0])
    return {
        "efficiency": round(ideal_s / (told["last"] - told["first"]), 3),
        "cpu_ms_per_cell": round(1000 * watch.worked_s / asked.cells, 1),
    }


def _broker(asked: argparse.Namespace) -> Any:
    broker = RedisBroker(url=asked.redis, namespace="bare", middleware=[AsyncIO()])  # type: ignore[no-untyped-call]
    client = redis.Redis.from_url(asked.redis)

    async def cell(number: int) -> None:
        started = time.time()
        await _graph(asked.models, asked.characters).ainvoke({"said": {}})
        client.rpush(_TIMES, json.dumps([started, time.time()]))

    dramatiq.actor(actor_name=_QUEUE, queue_name=_QUEUE, broker=broker)(cell)
    return broker


def _fork(asked: argparse.Namespace, threads: int) -> int:
    parent, pid = os.getpid(), os.fork()
    if pid:
        return pid
    die_with_parent(parent)
    broker = _broker(asked)
    signal.signal(signal.SIGTERM, lambda *_: os._exit(0))
    dramatiq.Worker(broker, worker_threads=threads, worker_timeout=50).start()
    while True:
        time.sleep(1)


@cache
def _graph(url: str, characters: int) -> Any:
    model = ChatOpenAI(model="gpt-5", base_url=url, api_key="sk-bare", reasoning_effort="low", max_retries=0)  # type: ignore[arg-type]
    graph = StateGraph(State)
    for role in (*_FIRST, *_LATER):
        graph.add_node(role, _node(model, role, characters))
    for role in _FIRST:
        graph.add_edge(START, role)
    graph.add_edge(list(_FIRST), _LATER[0])
    for before, after in itertools.pairwise(_LATER):
        graph.add_edge(before, after)
    graph.add_edge(_LATER[-1], END)
    return graph.compile()


def _node(model: ChatOpenAI, role: str, characters: int) -> Any:
    prompt = (f"You are the {role}. " * characters)[:characters]

    async def speak(state: State) -> dict[str, Any]:
        answer = await model.ainvoke([SystemMessage(f"You are the {role}."), HumanMessage(prompt)])
        return {"said": {role: str(answer.content)}}

    return speak


if __name__ == "__main__":
    main()
