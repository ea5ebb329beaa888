"""Bars and lines as server-side SVG: stacked bars, waterfall of calls, value over time; coloured by CSS class."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from reports import format
from reports.format import seconds_text
from reports.money import breakdown
from reports.money.breakdown import Spend
from reports.page.svg import line, rect, scale, svg, text, ticks, tipped


@dataclass(frozen=True)
class Piece:
    """One part of a bar: its kind (a CSS class) and length."""

    kind: str
    size: float
    start: float | None = None
    """Start position; None: after the previous piece."""
    tip: str = ""
    """What it shows to the pointer and the keyboard."""


def bar(pieces: Sequence[Piece], full_length: float, label: str, height: int = 14) -> Markup:
    """A bar of stacked pieces; `full_length` fills the width."""
    width, at, parts = 240.0, 0.0, []
    for piece in pieces:
        begin = at if piece.start is None else piece.start
        at = begin + piece.size
        if piece.size > 0 and full_length > 0:
            box = (begin / full_length * width, 0, max(piece.size / full_length * width, 0.6), height)
            parts.append(tipped(rect(*box, f"k-{piece.kind}"), piece.tip))
    return svg(int(width), height, parts, label, "bar", stretch=True)


@dataclass(frozen=True)
class Track:
    """One call on the waterfall."""

    label: str
    pieces: tuple[Piece, ...]
    end: float
    """Seconds from the cell's start to the end of the call."""
    note: str = ""
    failed: bool = False


def waterfall(tracks: Sequence[Track]) -> Markup:
    """The calls of one cell on a common time axis: waiting, loading, reading, writing."""
    width, left, row, right = 960, 190, 20, 76
    duration = max((t.end for t in tracks), default=0) or 1.0
    x_of = scale(0, duration, left, width - right)
    height = row * len(tracks) + 30
    parts = [line(x_of(t), 4, x_of(t), height - 22, "rule") for t in ticks(0, duration)]
    parts += [text(seconds_text(t), x_of(t), height - 6, "middle") for t in ticks(0, duration)]
    for index, track in enumerate(tracks):
        y = 6 + index * row
        parts.append(text(track.label, left - 10, y + 11, "end", "strong" if not track.failed else "strong bad"))
        drawn = Markup("").join(_piece(piece, x_of, y) for piece in track.pieces if piece.size > 0)
        parts.append(tipped(drawn, _track_tip(track)))
        parts.append(text(track.note, x_of(track.end) + 6, y + 11, "start"))
    label = f"Waterfall of {len(tracks)} calls over {seconds_text(duration)}; the table below holds the same numbers"
    return svg(width, height, parts, label, "waterfall")


def _track_tip(track: Track) -> str:
    sizes = [f"{piece.kind} {seconds_text(piece.size)}" for piece in track.pieces if piece.size > 0]
    return "\n".join([f"{track.label}{' (failed)' if track.failed else ''}", *sizes, *([track.note] if track.note else [])])


def _piece(piece: Piece, x_of: Callable[[float], float], y: float) -> Markup:
    start = piece.start or 0.0
    return rect(x_of(start), y, max(x_of(start + piece.size) - x_of(start), 1), 14, f"k-{piece.kind}")


Writer = Callable[[float], str]


@dataclass(frozen=True)
class StackedBar:
    """One arm's line."""

    slot: int
    name: str
    pieces: tuple[Piece, ...]
    full_length: float
    """Length that fills the width: that of the longest line."""
    total: Markup
    label: str


def token_bars(spends: Mapping[str, Spend], slots: Mapping[str, int]) -> list[StackedBar]:
    """Tokens of one decision by kind."""
    parts = {arm: _per_decision(breakdown.token_parts(spend), spend.cells) for arm, spend in spends.items()}
    return _bars(parts, slots, lambda size: f"{size:,.0f}", "tokens per decision")


def time_bars(spends: Mapping[str, Spend], slots: Mapping[str, int]) -> list[StackedBar]:
    """Seconds of requests of one decision by part."""
    parts = {arm: _per_decision(breakdown.time_parts(spend), spend.cells) for arm, spend in spends.items()}
    return _bars(parts, slots, format.seconds_text, "per decision")


def _per_decision(parts: Sequence[tuple[str, float]], cells: int) -> list[tuple[str, float]]:
    return [(kind, size / max(cells, 1)) for kind, size in parts]


def _bars(
    parts: Mapping[str, Sequence[tuple[str, float]]], slots: Mapping[str, int], write: Writer, unit: str
) -> list[StackedBar]:
    longest = max((sum(size for _, size in sizes) for sizes in parts.values()), default=0.0)
    lines = []
    for arm, sizes in parts.items():
        length = sum(size for _, size in sizes)
        label = f"{arm}: " + ", ".join(f"{kind.replace('_', ' ')} {write(size)}" for kind, size in sizes if size) + f" {unit}"
        pieces = tuple(Piece(kind, size, tip=f"{kind.replace('_', ' ')}: {write(size)} {unit}") for kind, size in sizes)
        lines.append(StackedBar(slots[arm], arm, pieces, longest, Markup("{}").format(write(length)), label))
    return lines


FAR = 4.0
"""An interval longer than this many times the largest estimate or margin is cut off, with an arrow."""
