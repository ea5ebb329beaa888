"""The gatehouse: what the gates of one process and one run share."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from agents import WorstCase
from harness.gate.keys import SHARED, Keys
from harness.gate.lease import Heart, new_holder
from harness.gate.ledger import Caps
from harness.gate.limits import Limit, Waiters
from harness.gate.scripts import PATIENCE_S, Scripts, connect
from harness.money import pricing

if TYPE_CHECKING:
    from agents import Model, Request
    from harness.experiment.servers import ServerSpec
    from harness.money.pricing import PriceTable


_BLOCK = 128
"""Tokens."""


class Gatehouse:
    """Belongs to the event loop that starts it; `async with` it, and take cells with it."""

    def __init__(
        self,
        broker: str,
        run_id: str,
        servers: Mapping[str, ServerSpec],
        prices: PriceTable,
        caps: Caps | None = None,
        patience_s: float = PATIENCE_S,
    ) -> None:
        self.run_id = run_id
        self.keys = Keys(run_id)
        self.prices = prices
        self.caps = caps or Caps()
        self.holder = new_holder(run_id)
        self._servers = dict(servers)
        self._worst: dict[tuple[Any, ...], float | None] = {}
        self._limits = {name: Limit.of(server) for name, server in servers.items()}
        self._redis, self._blocking = connect(broker), connect(broker, connections=1)
        self._scripts = Scripts(self._redis, patience_s)
        self._heart = Heart(self._redis, self.keys, self.holder)
        self.waiters = Waiters(self._scripts, self.keys, self.holder, self._blocking)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def start(self) -> None:
        """Give signs of life from now on."""
        await self._heart.start()

    async def aclose(self) -> None:
        """Give none any more: whatever is still held is free for others."""
        await self.waiters.stop()
        await self._heart.stop()
        await self._blocking.aclose()
        await self._redis.aclose()

    async def run(self, script: str, cell_id: str, server: str, args: Sequence[Any]) -> Any:
        """One script on a cell and the limit of a server; waits while Redis is away."""
        return await self._scripts.run(script, self.keys.of_call(cell_id, server), [SHARED, *args])

    def worst_case_usd(self, request: Request, worst: WorstCase) -> float | None:
        """Most that a request can cost, its prompt rounded up to whole blocks of tokens so like requests are priced once."""
        model, blocks = request.model, -(-worst.input_tokens // _BLOCK)
        key = (model.alias, blocks, worst.output_tokens, dt.datetime.now(dt.UTC).date())
        if key not in self._worst:
            whole = WorstCase(blocks * _BLOCK, worst.output_tokens)
            self._worst[key] = pricing.worst_case_usd(request, whole, self.server(model), self.prices)
        return self._worst[key]

    def server(self, model: Model) -> ServerSpec:
        return self._servers[model.server or model.provider]

    def limit(self, model: Model) -> Limit:
        return self._limits[model.server or model.provider]
