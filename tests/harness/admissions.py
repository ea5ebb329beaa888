"""Shared by the tests of admission: a cell, requests, calls, and an admission context on the test's Redis."""

from __future__ import annotations

import asyncio
import datetime as dt
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from redis import Redis

from agents import Answer, Call, CallSite, Failure, Model, Part, Permit, Pipeline, Request, Timing, Usage, WorstCase
from harness.admission.cell_session import CellSession, open_session
from harness.admission.context import AdmissionContext
from harness.admission.keys import Keys
from harness.admission.ledger import PICO, Caps, Money
from harness.cells import Cell
from harness.errors import Deferred
from harness.experiment.servers import ServerSpec
from harness.money.price_file import PriceFile
from harness.money.pricing import PriceTable

GPT = Model("gpt", "openai", "test-gpt", {"max_output_tokens": 100}, server="cloud")
LLAMA = Model("llama", "ollama", "llama3.1:8b", {"max_output_tokens": 100}, server="gpu-box")
WORST = WorstCase(1024, 100)
WORST_USD = 1024 * 1e-6 + 100 * 1e-5
PLACE = CallSite("market_analyst")
PRICES = PriceTable(
    PriceFile.model_validate({"version": "test", "prices": [{"model": "test-gpt", "input": 1.0, "output": 10.0}]})
)


def specs(parallel: int | None = 64, slots: int = 1) -> dict[str, ServerSpec]:
    cloud = ServerSpec("cloud", "openai", "http://127.0.0.1:1", "sk-test", parallel=parallel, is_hosted=True)
    return {"cloud": cloud, "gpu-box": ServerSpec("gpu-box", "ollama", "http://gpu-box:11434", parallel=slots)}


def context(
    url: str, *, caps: Caps | None = None, servers: Mapping[str, ServerSpec] | None = None, run_id: str = "run1", **more: Any
) -> AdmissionContext:
    return AdmissionContext(url, run_id, servers or specs(), PRICES, caps, **more)


def cell(ticker: str = "AAPL", *models: Model) -> Cell:
    lineup = {"market_analyst": (models or (GPT,))[0], "trader": (models or (GPT,))[-1]}
    return Cell("test", "arm", ticker, dt.date(2025, 3, 3), 0, lineup, Pipeline(), {}, "print", snapshot_sha256="ab")


def request(text: str = "Is it a buy?", model: Model = GPT) -> Request:
    return Request(model, (Part("system", "You judge."), Part("user", text)), max_output_tokens=100)


def answered(permit: Permit, asked: Request, place: CallSite = PLACE, tokens: tuple[int, int] = (500, 50)) -> Call:
    answer = Answer(
        "Buy.", usage=Usage(tokens[0], 0, 0, tokens[1], 0), timing=Timing(1.0, 0.1, 0.5), model_returned=asked.model.name
    )
    return Call(permit.call_id, place, asked, Timing(1.0, 0.1, 0.5), answer)


def failed(permit: Permit, asked: Request, cause: str, place: CallSite = PLACE, retry_after_s: float | None = None) -> Call:
    failure = Failure(cause, f"it said {cause}", "SomeError", 500, retry_after_s)
    return Call(permit.call_id, place, asked, Timing(1.0, None, 0.5), failure=failure)


async def pay(gate: CellSession, place: CallSite = PLACE, asked: Request | None = None) -> Call:
    """One call from admission to record."""
    asked = asked or request()
    await gate.recall(place, asked)
    call = answered(await gate.admit(place, asked, WORST), asked, place)
    assert await gate.record(call) is None
    return call


async def take_when_free(gates: AdmissionContext, wanted: Cell) -> tuple[CellSession, list[float]]:
    """Hold a cell as soon as its holder is dead; also how long each refusal asked to wait."""
    waits_s: list[float] = []
    while True:
        try:
            return await open_session(gates, wanted), waits_s
        except Deferred as held:
            waits_s.append(held.delay_s)
            await asyncio.sleep(held.delay_s)


def money_by_model(client: Redis, run_id: str) -> dict[str, Money]:
    """What the ledger holds of each model, by alias."""
    raw: Any = client.hgetall(Keys(run_id).ledger)
    fields = {key.decode(): value for key, value in raw.items() if key.startswith(b"model:")}
    names = sorted({name.removeprefix("model:").rpartition("|")[0] for name in fields})
    kinds = ("settled", "estimated", "reserved")
    return {name: Money(*(int(fields.get(f"model:{name}|{kind}", 0)) / PICO for kind in kinds)) for name in names}


def window_changes(client: Redis, run_id: str, key: str) -> list[tuple[str, float]]:
    """What happened to the slots of a server, each with the window after it."""
    lines: Any = client.lrange(Keys(run_id).history(key), 0, -1)
    parts = [line.decode().split("|") for line in lines]
    return [(event, float(window)) for _, event, window in parts]


def at(role: str, index: int = 0) -> CallSite:
    return replace(PLACE, role=role, index=index)
