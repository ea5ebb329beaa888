"""What all cell sessions of one process and one run share: Redis, servers, prices, caps and the heartbeat."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Self

from agents import WorstCase
from harness.admission.keys import SHARED, Keys
from harness.admission.lease import Heartbeat, new_holder
from harness.admission.ledger import Caps
from harness.admission.scripts import PATIENCE_S, Scripts, connect
from harness.admission.slots import SlotLimit, Waiters
from harness.errors import Unserved
from harness.money import pricing

if TYPE_CHECKING:
    from agents import Model, Request
    from harness.experiment.servers import ServerSpec
    from harness.money.pricing import PriceTable


_BLOCK_TOKENS = 128


class AdmissionContext:
    """Shared by the cell sessions of one process and one run; belongs to the event loop that enters it."""

    def __init__(
        self,
        broker: str,
        run_id: str,
        servers: Mapping[str, ServerSpec],
        prices: PriceTable,
        caps: Caps | None = None,
        patience_s: float = PATIENCE_S,
        month: str = "",
    ) -> None:
        """`month`: the month (YYYY-MM) whose bill this run counts to; empty: none."""
        self.run_id = run_id
        self.keys = Keys(run_id, month)
        self.prices = prices
        self.caps = caps or Caps()
        self.holder = new_holder(run_id)
        self._servers = dict(servers)
        self._worst: dict[tuple[Any, ...], float | None] = {}
        self._limits = {name: SlotLimit.of(server) for name, server in servers.items()}
        self._redis, self._blocking = connect(broker), connect(broker, connections=1)
        self._scripts = Scripts(self._redis, patience_s)
        self._heart = Heartbeat(self._redis, self.keys, self.holder)
        self.waiters = Waiters(self._scripts, self.keys, self.holder, self._blocking)

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    async def start(self) -> None:
        """Start the heartbeat."""
        await self._heart.start()

    async def aclose(self) -> None:
        """Stop the heartbeat: other workers may take over what is still held."""
        await self.waiters.stop()
        await self._heart.stop()
        await self._blocking.aclose()
        await self._redis.aclose()

    async def run(self, script: str, cell_id: str, server: str, args: Sequence[Any]) -> Any:
        """Run a script on a cell and a server's slots; waits while Redis is away."""
        return await self._scripts.run(script, self.keys.of_call(cell_id, server), [SHARED, *args])

    def worst_case_usd(self, request: Request, worst: WorstCase) -> float | None:
        """Most that a request can cost; prompts are rounded up to blocks of tokens so that similar ones share a look-up."""
        model, blocks = request.model, -(-worst.input_tokens // _BLOCK_TOKENS)
        key = (model.alias, blocks, worst.output_tokens, dt.datetime.now(dt.UTC).date())
        if key not in self._worst:
            rounded = WorstCase(blocks * _BLOCK_TOKENS, worst.output_tokens)
            self._worst[key] = pricing.worst_case_usd(request, rounded, self.server(model), self.prices)
        return self._worst[key]

    async def unserved(self, models: Iterable[Model]) -> Unserved | None:
        """Why none of a cell's calls needs to be tried: what admission has found out about the servers of these models."""
        for model in models:
            key = self.keys.limit(self.limit(model).key)
            fields: Any = await self._scripts.redis.hmget(key, ["closed", f"missing:{model.name}"])
            closed, missing = ((field or b"").decode() for field in fields)
            kind, _, text = closed.partition("|")
            if missing or closed:
                found = ("model", missing, model.name) if missing else (kind, text, "")
                return Unserved(model.server or model.provider, *found)
        return None

    def server(self, model: Model) -> ServerSpec:
        return self._servers[model.server or model.provider]

    def limit(self, model: Model) -> SlotLimit:
        return self._limits[model.server or model.provider]
