"""The stacked bars of the page: tokens, time and ratings, one line per arm."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from domain.ratings import RATINGS, SCORES
from reports import figures
from reports.drawing.charts import Piece
from reports.money import breakdown
from reports.money.breakdown import Spend

Writer = Callable[[float], str]


@dataclass(frozen=True)
class Bar:
    """One arm's line."""

    slot: int
    name: str
    pieces: tuple[Piece, ...]
    whole: float
    """Length that fills the width: the longest line's."""
    total: Markup
    said: str


def tokens(spends: Mapping[str, Spend], slots: Mapping[str, int]) -> list[Bar]:
    """Tokens per cell by kind."""
    parts = {arm: _per_cell(breakdown.token_parts(spend), spend.cells) for arm, spend in spends.items()}
    return _bars(parts, slots, lambda size: f"{size:,.0f}", "tokens per cell")


def times(spends: Mapping[str, Spend], slots: Mapping[str, int]) -> list[Bar]:
    """Seconds of requests per cell by part."""
    parts = {arm: _per_cell(breakdown.time_parts(spend), spend.cells) for arm, spend in spends.items()}
    return _bars(parts, slots, figures.seconds_text, "per cell")


def ratings(counts: Mapping[str, Mapping[str, int]], slots: Mapping[str, int]) -> list[Bar]:
    """Answers by rating, from Sell to Buy, then those without one."""
    lines = []
    for arm, found in counts.items():
        pieces = [Piece(f"r{SCORES[word]}", found.get(word, 0)) for word in reversed(RATINGS)]
        pieces.append(Piece("rx", sum(n for word, n in found.items() if word not in SCORES)))
        whole = sum(found.values())
        said = f"{arm}: " + (", ".join(f"{n} {word}" for word, n in found.items()) or "no answer")
        lines.append(Bar(slots[arm], arm, tuple(pieces), whole, figures.integer(whole), said))
    return lines


def _per_cell(parts: Sequence[tuple[str, float]], cells: int) -> list[tuple[str, float]]:
    return [(kind, size / max(cells, 1)) for kind, size in parts]


def _bars(parts: Mapping[str, Sequence[tuple[str, float]]], slots: Mapping[str, int], write: Writer, unit: str) -> list[Bar]:
    whole = max((sum(size for _, size in sizes) for sizes in parts.values()), default=0.0)
    lines = []
    for arm, sizes in parts.items():
        length = sum(size for _, size in sizes)
        said = f"{arm}: " + ", ".join(f"{kind} {write(size)}" for kind, size in sizes if size) + f" {unit}"
        pieces = tuple(Piece(kind, size) for kind, size in sizes)
        lines.append(Bar(slots[arm], arm, pieces, whole, Markup("{}").format(write(length)), said))
    return lines
