"""python -m benchmarks.gateway (after `make demo`)

What the gateway adds to a call, as JSON: the same requests of the official client straight to a server, through our model
client alone, and through the gateway, at 30 calls a second. `cpu_ms` is the time that the carrying process computes for a call;
latencies are medians of the client's own clock.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import statistics
import sys
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import agents
from agents import CallSite, Clients, Model, Part, Pipeline, Request
from harness.experiment.attached import Attached
from harness.gateway.conversation import Conversation
from harness.gateway.server import Gateway, LocalServer
from harness.web.server import event_loop_runner
from tests.fakes.process import FakeModels, fake_server
from tests.fakes.scripted import OpenAdmission

PROMPT = "The close stood at 101.25; sales grew 8 % in a year. " * 120


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--calls", type=int, default=300)
    parser.add_argument("--per-second", type=float, default=30.0)
    parser.add_argument("--client", metavar="URL", help="only ask this address, as the measured client does")
    options = parser.parse_args()
    if options.client:
        print(json.dumps(asyncio.run(official(options.client, options.calls, options.per_second))))
        return
    # As in workers and in the proxy.
    agents.preload()
    gc.set_threshold(50_000, 20, 20)
    gc.freeze()
    with fake_server("--latency-s", "0.05") as fake:
        # In the event loop that workers and the proxy use.
        print(json.dumps(event_loop_runner()(measure(fake, options.calls, options.per_second)), indent=2))


async def measure(fake: FakeModels, calls: int, per_second: float) -> dict[str, Any]:
    server = fake.compatible()
    model = Model("own", server.provider, "tiny", {"max_output_tokens": 400}, server.name)
    admission, clients, gateway = OpenAdmission(), Clients({server.name: server}), Gateway()
    local = LocalServer(gateway)
    await local.start()
    program = Attached(("true",), Path(), Path())
    conversation = Conversation(program, {"deep": model, "quick": model}, Pipeline(), admission, clients)
    token = gateway.add(conversation)

    async def asked(number: int) -> None:
        request = Request(model, (Part("user", f"{number} {PROMPT}"),))
        await agents.ask(CallSite("bull", index=number), request, admission, clients)

    ways: dict[str, Callable[[int], Awaitable[dict[str, float]]]] = {
        "direct": lambda count: client(f"{fake.url}/v1", count, per_second),
        "gateway": lambda count: client(f"{local.url}/c/{token}/v1", count, per_second),
    }
    measured: dict[str, dict[str, float]] = {}
    await ways["gateway"](20)
    for name, way in ways.items():
        conversation.exchanges.clear()
        cpu = time.process_time()
        measured[name] = await way(calls)
        measured[name]["cpu_ms"] = 1000 * (time.process_time() - cpu) / calls
    measured["model client"] = await paced(asked, calls, per_second)
    await conversation.close(cancel=True)
    await local.stop()
    await clients.aclose()
    above = measured["gateway"]
    return {
        "calls": calls,
        "per_second": per_second,
        **{name: {key: round(value, 2) for key, value in values.items()} for name, values in measured.items()},
        "above_direct": {
            "median_ms": round(above["median_ms"] - measured["direct"]["median_ms"], 2),
            "cpu_ms": round(above["cpu_ms"] - measured["direct"]["cpu_ms"], 2),
        },
        "above_model_client": {
            "median_ms": round(above["median_ms"] - measured["model client"]["median_ms"], 2),
            "cpu_ms": round(above["cpu_ms"] - measured["model client"]["cpu_ms"], 2),
        },
    }


async def client(url: str, calls: int, per_second: float) -> dict[str, float]:
    """Latencies of the official client, in a process of its own."""
    options = ["--client", url, "--calls", str(calls), "--per-second", str(per_second)]
    command = [sys.executable, "-m", "benchmarks.gateway", *options]
    process = await asyncio.create_subprocess_exec(*command, stdout=asyncio.subprocess.PIPE)
    output, _ = await process.communicate()
    return dict(json.loads(output))


async def official(url: str, calls: int, per_second: float) -> dict[str, float]:
    """Ask an address with the official client at a steady rate."""
    import openai

    async with openai.AsyncOpenAI(base_url=url, api_key="any", max_retries=0) as made:

        async def ask(number: int) -> None:
            message = f"{number} {PROMPT}"
            await made.chat.completions.create(model="tiny", messages=[{"role": "user", "content": message}])

        await ask(-1)
        return await paced(ask, calls, per_second)


async def paced(ask: Callable[[int], Awaitable[None]], calls: int, per_second: float) -> dict[str, float]:
    """Ask at a steady rate from this process."""
    latencies: list[float] = []

    async def one(number: int) -> None:
        began = time.perf_counter()
        await ask(number)
        latencies.append(1000 * (time.perf_counter() - began))

    cpu, tasks = time.process_time(), []
    for number in range(calls):
        tasks.append(asyncio.create_task(one(number)))
        await asyncio.sleep(1 / per_second)
    await asyncio.gather(*tasks)
    used = 1000 * (time.process_time() - cpu) / calls
    return {"median_ms": statistics.median(latencies), "p95_ms": statistics.quantiles(latencies, n=20)[-1], "cpu_ms": used}


if __name__ == "__main__":
    main()
