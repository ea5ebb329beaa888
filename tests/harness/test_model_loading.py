"""Local models are loaded once for their cells, and given back as they were found."""

from __future__ import annotations

import asyncio
import datetime as dt
import json
import urllib.request
from typing import Any

from agents import Clients, Model, Pipeline
from harness.cells import Cell
from harness.workers.model_loading import ModelLoader
from tests.fakes.process import FakeModels

LLAMA, QWEN = "llama3.1:8b", "gpt-oss:20b"


def _cell(name: str, repeat: int = 0, num_ctx: int = 4096) -> Cell:
    model = Model(name, "ollama", name, {"num_ctx": num_ctx}, "ollama")
    return Cell("e", name, "AAPL", dt.date(2012, 6, 15), repeat, {"trader": model}, Pipeline(), {}, "f")


def _loaded(fake: FakeModels) -> dict[str, Any]:
    with urllib.request.urlopen(f"{fake.url}/api/ps", timeout=5) as answer:
        return {line["name"]: line for line in json.load(answer)["models"]}


def test_a_model_is_warm_before_its_cells_and_gone_after_the_run(fake_models: FakeModels) -> None:
    async def play() -> None:
        async with Clients({"ollama": fake_models.ollama()}) as clients:
            warmer = ModelLoader(clients)
            async with warmer.loaded(_cell(LLAMA)), warmer.loaded(_cell(LLAMA, 1)):
                assert LLAMA in _loaded(fake_models)
            assert LLAMA in _loaded(fake_models), "the next cell of the arm finds it warm"
            await warmer.aclose()

    asyncio.run(play())
    assert LLAMA not in _loaded(fake_models)


def test_a_model_at_another_context_size_is_loaded_for_its_own_cells(fake_models: FakeModels) -> None:
    async def play() -> list[int]:
        sizes = []
        async with Clients({"ollama": fake_models.ollama()}) as clients:
            warmer = ModelLoader(clients)
            for num_ctx in (4096, 16384):
                async with warmer.loaded(_cell(LLAMA, num_ctx=num_ctx)):
                    sizes.append(_loaded(fake_models)[LLAMA]["context_length"])
            await warmer.aclose()
        return sizes

    assert asyncio.run(play()) == [4096, 16384]
    assert LLAMA not in _loaded(fake_models)


def test_a_model_that_somebody_else_had_loaded_stays(fake_models: FakeModels) -> None:
    body = json.dumps({"model": LLAMA, "keep_alive": -1}).encode()
    request = urllib.request.Request(f"{fake_models.url}/api/generate", body, {"content-type": "application/json"})
    urllib.request.urlopen(request, timeout=5).close()
    before = _loaded(fake_models)[LLAMA]["expires_at"]

    async def play() -> None:
        async with Clients({"ollama": fake_models.ollama()}) as clients:
            warmer = ModelLoader(clients)
            async with warmer.loaded(_cell(LLAMA)):
                pass
            await warmer.aclose()

    asyncio.run(play())
    assert _loaded(fake_models)[LLAMA]["expires_at"][:4] == before[:4], "kept for ever, as it was"


def test_cells_of_another_model_wait_until_the_server_is_free(fake_models: FakeModels) -> None:
    order: list[str] = []

    async def one(warmer: ModelLoader, name: str, begun: asyncio.Event, seconds: float) -> None:
        async with warmer.loaded(_cell(name)):
            order.append(f"{name} in")
            begun.set()
            await asyncio.sleep(seconds)
            order.append(f"{name} out")

    async def play() -> None:
        async with Clients({"ollama": fake_models.ollama()}) as clients:
            warmer = ModelLoader(clients)
            begun = asyncio.Event()
            first = asyncio.create_task(one(warmer, LLAMA, begun, 0.3))
            await begun.wait()
            await asyncio.gather(first, one(warmer, QWEN, begun, 0.0))
            await warmer.aclose()

    asyncio.run(play())
    assert order == [f"{LLAMA} in", f"{LLAMA} out", f"{QWEN} in", f"{QWEN} out"]
