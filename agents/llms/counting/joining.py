"""Joining neighbours to tokens, the best-scored pair first, until no two are a token."""

from __future__ import annotations

import heapq
from collections.abc import Mapping


def join(word: str, scores: Mapping[str, float]) -> list[str]:
    """The tokens of a word, in order; a sign that is part of none stays by itself."""
    pieces: list[str | None] = list(word)
    after = list(range(1, len(word) + 1))
    before = list(range(-1, len(word) - 1))
    waiting: list[tuple[float, int, int, str]] = []

    def offer(left: int, right: int) -> None:
        joined = f"{pieces[left]}{pieces[right]}" if left >= 0 and right < len(pieces) else ""
        if joined in scores:
            heapq.heappush(waiting, (-scores[joined], left, right, joined))

    for place in range(len(word) - 1):
        offer(place, place + 1)
    while waiting:
        _, left, right, joined = heapq.heappop(waiting)
        # One of the two may have been joined to another neighbour since.
        if pieces[left] is None or pieces[right] is None or f"{pieces[left]}{pieces[right]}" != joined:
            continue
        pieces[left], pieces[right] = joined, None
        after[left] = after[right]
        if after[left] < len(pieces):
            before[after[left]] = left
        offer(before[left], left)
        offer(left, after[left])
    return [piece for piece in pieces if piece is not None]
