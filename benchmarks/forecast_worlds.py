"""python -m benchmarks.forecast_worlds (after `make demo`)

Forecast against bill over hundreds of worlds: the fake server is asked at a few lengths of answers, the rest is in between.

benchmarks/forecast.py sends every request of every experiment; this sends those of one experiment, at four lengths of
answers, and computes from them what other worlds would have used: outputs as the worlds say, prompts and caches between the
recorded ones. Measuring, planning and prices are the product's own code in both, so that coverage is known to a few points.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import agents
from benchmarks import forecast
from benchmarks.forecast import FORMS, Bench, Hit, World
from harness.cells import Cell
from harness.money.pricing import Tokens
from harness.planning.experience import Experience, key_of, of_calls
from tests.fakes.process import fake_server

LEVELS = (0.4, 0.8, 1.6, 3.2)
"""How long answers are over the priors, where prompts and caches are recorded."""
TERSE = 6
"""Tokens of an answer that is no form."""


class Recorded:
    """Prompts and caches of every seat of every cell at each level."""

    def __init__(self, bench: Bench) -> None:
        self.bench = bench
        self._used: dict[tuple[str, float], list[tuple[int, int]]] = {}
        self.models: dict[str, list[str]] = {}

    async def record(self) -> None:
        server = replace(self.bench.server.as_agents_server(), api="responses")
        clients = agents.Clients({"openai": server})
        try:
            for level in LEVELS:
                for cell in self.bench.cells:
                    await self._play(cell, level, clients)
        finally:
            await clients.aclose()

    async def _play(self, cell: Cell, level: float, clients: agents.Clients) -> None:
        world = World(random.Random(0), self.bench.seats, dict.fromkeys(("gpt-5", "gpt-5-mini"), level), 0.0, 1.0, 0.0, 1.0)
        self.bench.fake.reset()
        self.bench.fake.control(rules=world.rules())
        calls = {call.site.role: call for call in await self.bench._play(cell, clients)}
        found = [calls[seat.role] for seat in self.bench.seats]
        self.models[cell.cell_id] = [call.request.model.name for call in found]
        usages = [call.answer.usage for call in found if call.answer]
        self._used[cell.cell_id, level] = [(int(one.input_tokens or 0), int(one.cached_tokens or 0)) for one in usages]

    def read(self, cell: Cell, seat: int, times: float) -> tuple[float, float]:
        """Input and cached tokens between the recorded levels."""
        place, levels = math.log(times), [math.log(level) for level in LEVELS]
        each = [self._used[cell.cell_id, level][seat] for level in LEVELS]
        return tuple(float(np.interp(place, levels, [one[part] for one in each])) for part in (0, 1))  # type: ignore[return-value]


class Prices:
    """Dollars per token, from the product's table; these models have no tiers by length."""

    def __init__(self, bench: Bench) -> None:
        self._of = {name: self._rates(bench, name) for name in ("gpt-5", "gpt-5-mini")}

    def _rates(self, bench: Bench, name: str) -> tuple[float, float, float]:
        import datetime as dt

        asked = (Tokens(1_000_000, 0), Tokens(1_000_000, 0, cached=1_000_000), Tokens(0, 1_000_000))
        told = [bench.table.usd(name, bench.server, None, tokens, dt.datetime.now(dt.UTC)) for tokens in asked]
        fresh, warm, out = (float(usd or 0.0) / 1e6 for usd in told)
        return fresh, warm, out

    def usd(self, model: str, read: float, cached: float, written: float) -> float:
        fresh, warm, out = self._of[model]
        return (read - cached) * fresh + cached * warm + written * out


def play(recorded: Recorded, world: World, cells: Sequence[Cell]) -> list[dict[str, Any]]:
    """The calls of these cells in a world, with the columns that experience reads."""
    return [call for cell in cells for call in _cell(recorded, world, cell)]


def _cell(recorded: Recorded, world: World, cell: Cell) -> list[dict[str, Any]]:
    own = math.exp(world.dice.gauss(0, world.cell_spread))
    models = recorded.models[cell.cell_id]
    handed = math.exp(sum(math.log(world.factors[name] * own) for name in models) / len(models))
    calls = []
    for place, (seat, name) in enumerate(zip(world.seats, models, strict=True)):
        told = world._behaviour(seat, world.factors[name] * own)
        read, cached = (world.counts * tokens for tokens in recorded.read(cell, place, handed))
        seen = forecast.FORM_TOKENS if seat.role in FORMS else told["output_tokens"]
        line = {"cell": cell, "role": seat.role, "name": name, "read": read, "cached": world.warm * cached}
        if seat.role in FORMS and world.dice.random() < world.broken * len(world.seats) / len(FORMS):
            calls.append(line | {"kind": "primary", "written": TERSE + told["reasoning_tokens"]})
            line["kind"] = "repair"
        calls.append({"kind": "primary"} | line | {"written": seen + told["reasoning_tokens"]})
    return calls


def experience(calls: Sequence[Mapping[str, Any]]) -> Experience:
    """What the product learns of these calls."""
    rows = [
        {
            "role": call["role"], "kind": call["kind"], "outcome": "answered", "cell_id": call["cell"].cell_id,
            "arm": call["cell"].arm, "fingerprint": call["cell"].fingerprint, "model": _key(call),
            "input_tokens": call["read"], "cached_tokens": call["cached"], "cache_write_tokens": 0.0,
            "output_tokens": call["written"],
            "duration_s": 1.0, "load_s": np.nan, "prefill_s": np.nan, "decode_s": np.nan,
            "counted": 0.0, "has_tokenizer": True, "is_whole": True,
        }
        for call in calls
    ]  # fmt: skip
    return of_calls(pd.DataFrame(rows), 1)


def _key(call: Mapping[str, Any]) -> str:
    model = call["cell"].lineup[call["role"]]
    return key_of(model.provider, model.name, model.params)


def bills(calls: Sequence[Mapping[str, Any]], prices: Prices) -> dict[str, float]:
    found: dict[str, float] = {}
    for call in calls:
        paid = prices.usd(call["name"], call["read"], call["cached"], call["written"])
        found[call["cell"].arm] = found.get(call["cell"].arm, 0.0) + paid
    return found


def experiment(recorded: Recorded, prices: Prices, seed: int) -> tuple[list[Hit], list[Hit]]:
    bench = recorded.bench
    world = World.draw(seed, bench.seats)
    first, rest = forecast.split(bench, seed)
    early, paid = bench.plan(first, Experience()), play(recorded, world, first)
    later, calls = bench.plan(rest, experience(paid)), play(recorded, world, rest)
    return forecast._hits(later, bills(calls, prices)), forecast._hits(early, bills(paid, prices))


async def measure(worlds: int, seed: int) -> dict[str, Any]:
    with tempfile.TemporaryDirectory(prefix="forecast-") as folder, fake_server() as fake:
        recorded = Recorded(Bench(fake, Path(folder)))
        await recorded.record()
        prices = Prices(recorded.bench)
        pairs = [experiment(recorded, prices, seed + number) for number in range(worlds)]
    later, early = ([hit for pair in pairs for hit in pair[side]] for side in (0, 1))
    return {"worlds": worlds, "after_a_first_run": forecast.by_arm(later), "from_priors": forecast.by_arm(early)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", type=int, default=400)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    print(json.dumps(asyncio.run(measure(options.worlds, options.seed)), indent=2, ensure_ascii=False))


if __name__ == "__main__":
    main()
