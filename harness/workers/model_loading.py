"""Warm local models: each loaded once for the cells that use it, outside their timings, and given back as it was found."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from agents import AgentsError, Clients, Model, Warmth
from harness.cells import Cell

_log = logging.getLogger(__name__)
_PROVIDERS = frozenset({"ollama"})
"""Servers that keep models of their own accord; the embedded one loads per turn and accounts for it."""

_Key = tuple[str, str, int]
"""(server, model name, num_ctx): an Ollama server loads a model again for another context size."""
_Group = frozenset[_Key]
"""The local models that a cell uses."""


class ModelLoader:
    """What one worker process has loaded; cells come model by model, so a server holds one group of models at a time."""

    def __init__(self, clients: Clients) -> None:
        self._clients = clients
        self._active: Counter[_Group] = Counter()
        self._found: dict[_Key, tuple[Model, Warmth]] = {}
        self._changed = asyncio.Condition()

    @asynccontextmanager
    async def of(self, cell: Cell) -> AsyncIterator[None]:
        """The cell's local models stay loaded meanwhile; cells that need others of the same server wait."""
        models = {_key(one): one for one in cell.lineup.values() if one.provider in _PROVIDERS}
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
        """Give back whatever is still held."""
        for key in list(self._found):
            await self._release(key)

    def _is_free(self, group: _Group) -> bool:
        servers = {key[0] for key in group}
        return all(other == group or not servers & {key[0] for key in other} for other in self._active)

    async def _switch(self, group: _Group, models: dict[_Key, Model]) -> None:
        servers = {key[0] for key in group}
        for key in [key for key in self._found if key[0] in servers and key not in group]:
            await self._release(key)
        for key in sorted(group - self._found.keys()):
            # A server that does not answer is the business of the request itself.
            with contextlib.suppress(AgentsError, OSError):
                warmth = await self._clients.warm(models[key])
                self._found[key] = (models[key], warmth)
                _log.info("loaded %s on %s in %.1f s", key[1], key[0], warmth.load_s)

    async def _release(self, key: _Key) -> None:
        model, before = self._found.pop(key)
        with contextlib.suppress(AgentsError, OSError):
            await self._clients.release(model, before)


def _key(model: Model) -> _Key:
    return model.server, model.name, int(model.params.get("num_ctx") or 0)
