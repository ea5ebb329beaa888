"""Keeps local models loaded: once for all cells that use them, outside their timings; afterwards as they were before."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from agents import AgentsError, Clients, Model, Warmth
from domain.providers import PROVIDERS
from harness.cells import Cell

_log = logging.getLogger(__name__)

_Key = tuple[str, str, int]
"""(server, model name, num_ctx): Ollama reloads a model for another context size."""
_Group = frozenset[_Key]
"""The local models that a cell uses."""


class ModelLoader:
    """Loads models for the cells of one worker process; cells come model by model, so a server holds one group at a time."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._active: Counter[_Group] = Counter()
        self._loaded: dict[_Key, tuple[Model, Warmth]] = {}
        self._changed = asyncio.Condition()

    @asynccontextmanager
    async def loaded(self, cell: Cell) -> AsyncIterator[None]:
        """Keep the cell's local models loaded; cells that need other models of the same server wait."""
        models = {_key(model): model for model in cell.lineup.values() if PROVIDERS[model.provider].keeps_models}
        group = frozenset(models)
        if not group:
            yield
            return
        async with self._changed:
            await self._changed.wait_for(lambda: self._is_free(group))
            self._active[group] += 1
            await self._switch(group, models)
        try:
            yield
        finally:
            async with self._changed:
                self._active[group] -= 1
                self._active += Counter()
                self._changed.notify_all()

    async def aclose(self) -> None:
        """Restore every model that is still held."""
        for key in list(self._loaded):
            await self._release(key)

    def _is_free(self, group: _Group) -> bool:
        servers = {key[0] for key in group}
        return all(other == group or not servers & {key[0] for key in other} for other in self._active)

    async def _switch(self, group: _Group, models: dict[_Key, Model]) -> None:
        servers = {key[0] for key in group}
        for key in [key for key in self._loaded if key[0] in servers and key not in group]:
            await self._release(key)
        for key in sorted(group - self._loaded.keys()):
            # If the server does not answer, the request itself reports it.
            with contextlib.suppress(AgentsError, OSError):
                warmth = await self._clients.warm(models[key])
                self._loaded[key] = (models[key], warmth)
                _log.info("loaded %s on %s in %.1f s", key[1], key[0], warmth.load_s)

    async def _release(self, key: _Key) -> None:
        model, before = self._loaded.pop(key)
        with contextlib.suppress(AgentsError, OSError):
            await self._clients.release(model, before)


def _key(model: Model) -> _Key:
    return model.server, model.name, int(model.params.get("num_ctx") or 0)
