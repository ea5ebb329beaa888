"""Bars and lines as server-side SVG: stacked bars, waterfall of calls, value over time; coloured by CSS class."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from reports import format
from reports.format import seconds_text
from reports.money import breakdown
from reports.money.breakdown import Spend
from reports.page.svg import rect, short, svg, ticks, tipped


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


ROW = 20


def waterfall(tracks: Sequence[Track]) -> Markup:
    """The calls of one cell on a common time axis: waiting, loading, reading, writing."""
    duration = max((track.end for track in tracks), default=0) or 1.0
    height = ROW * len(tracks) + 8
    axis = '<line class="rule" x1="{0}%" x2="{0}%" y2="{1}"/><text x="{0}%" y="{2}" text-anchor="middle">{3}</text>'
    parts = [
        Markup(axis).format(short(100 * at / duration), height, height + 16, seconds_text(at)) for at in ticks(0, duration)
    ]
    for index, track in enumerate(tracks):
        y = 6 + index * ROW
        kind = "strong bad" if track.failed else "strong"
        parts.append(Markup('<text class="{}" x="-8" y="{}" text-anchor="end">{}</text>').format(kind, y + 11, track.label))
        drawn = Markup("").join(_piece(piece, duration, y) for piece in track.pieces if piece.size > 0)
        parts.append(tipped(drawn, _track_tip(track)))
        note = Markup('<text x="{}%" dx="6" y="{}">{}</text>')
        parts.append(note.format(short(100 * track.end / duration), y + 11, track.note) if track.note else Markup(""))
    label = f"Waterfall of {len(tracks)} calls over {seconds_text(duration)}; the table above holds the same numbers"
    chart = '<div class="plot clock"><svg height="{}" role="img" aria-label="{}">{}</svg></div>'
    return Markup(chart).format(height, label, Markup("").join(parts))


def _track_tip(track: Track) -> str:
    sizes = [f"{piece.kind} {seconds_text(piece.size)}" for piece in track.pieces if piece.size > 0]
    return "\n".join([f"{track.label}{' (failed)' if track.failed else ''}", *sizes, *([track.note] if track.note else [])])


def _piece(piece: Piece, duration: float, y: int) -> Markup:
    box = '<rect class="k-{}" x="{}%" y="{}" width="{}%" height="14"/>'
    return Markup(box).format(
        piece.kind, short(100 * (piece.start or 0.0) / duration), y, short(max(100 * piece.size / duration, 0.1))
    )


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
    timed = {arm: spend for arm, spend in spends.items() if not spend.why_no_time}
    parts = {arm: _per_decision(breakdown.time_parts(spend), spend.cells) for arm, spend in timed.items()}
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
