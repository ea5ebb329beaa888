"""One number that a worker process shares with its supervisor: until when it may be trusted."""

from __future__ import annotations

import mmap
import struct

_NUMBER = struct.Struct("d")


class Board:
    """Written by the child at every beat, read by the parent; it needs no lock and cannot block."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _NUMBER.size)
        self.trust(float("inf"))

    def trust(self, until: float) -> None:
        """`until` is on time.monotonic, which all processes of a machine share."""
        _NUMBER.pack_into(self._memory, 0, until)

    @property
    def trusted_until(self) -> float:
        return float(_NUMBER.unpack_from(self._memory, 0)[0])

    def close(self) -> None:
        self._memory.close()
