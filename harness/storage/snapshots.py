"""The frozen inputs of a run's cases, as one process reads them: checked against their name, the last ones kept."""

from __future__ import annotations

import asyncio
import contextlib
from collections import OrderedDict
from hashlib import sha256

from agents import Snapshot, SnapshotError
from harness.cells import Cell
from harness.storage.folder import Folder

_KEPT = 64


class Snapshots:
    """Snapshots of one run by their hash."""

    def __init__(self, folder: Folder) -> None:
        self._folder = folder
        self._kept: OrderedDict[str, Snapshot] = OrderedDict()

    async def load(self, cell: Cell) -> Snapshot:
        """Raises SnapshotError when it is missing or altered."""
        name = cell.snapshot_sha256
        if name not in self._kept:
            self._kept[name] = await asyncio.to_thread(self._read, name)
        self._kept.move_to_end(name)
        while len(self._kept) > _KEPT:
            self._kept.popitem(last=False)
        return self._kept[name]

    async def read_ahead(self, cell: Cell) -> None:
        """Read it before it is needed, if it can be read."""
        if cell.snapshot_sha256:
            with contextlib.suppress(SnapshotError, OSError):
                await self.load(cell)

    def _read(self, name: str) -> Snapshot:
        raw = self._folder.read_if_there(f"{name}.json")
        if raw is None:
            raise SnapshotError(f"no snapshot {name[:12]} in {self._folder.url}; run the experiment again to freeze it")
        if sha256(raw).hexdigest() != name:
            raise SnapshotError(f"{self._folder.url}/{name}.json was altered; delete it and run again")
        return Snapshot.from_bytes(raw)
