"""A gateway in a thread of its own, in front of the fake model server, for official clients."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from agents import Clients, Model, Pipeline, Server
from harness.experiment.attached import Attached
from harness.gateway.conversation import Conversation
from harness.gateway.server import Gateway, LocalServer
from tests.fakes.scripted import OpenAdmission

T = TypeVar("T")


@dataclass
class Served:
    """One case at a running gateway."""

    root: str
    """Address of the case."""
    conversation: Conversation
    admission: OpenAdmission
    loop: asyncio.AbstractEventLoop

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, self.loop).result(30)

    @property
    def v1(self) -> str:
        return f"{self.root}/v1"


@contextmanager
def served(server: Server, models: Mapping[str, str] | None = None, name: str = "tiny", **params: Any) -> Iterator[Served]:
    """Carry calls to this server; every tier is the model `name`."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()

    def wait(work: Coroutine[Any, Any, T]) -> T:
        return asyncio.run_coroutine_threadsafe(work, loop).result(30)

    model = Model("own", server.provider, name, params, server.name)
    admission, gateway, clients = OpenAdmission(), Gateway(), Clients({server.name: server})
    local = LocalServer(gateway)
    program = Attached(("true",), Path(), Path(), models=models or {"*": "role"})

    async def opened() -> Conversation:
        await local.start()
        lineup = {"deep": model, "quick": model, "model:vectors": model}
        return Conversation(program, lineup, Pipeline(), admission, clients)

    conversation = wait(opened())
    try:
        yield Served(f"{local.url}/c/{gateway.add(conversation)}", conversation, admission, loop)
    finally:
        wait(conversation.close(cancel=True))
        wait(local.stop())
        wait(clients.aclose())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
