"""Charts as server-side SVG: colours come from the page's CSS variables, so light, dark and print follow by themselves."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from reports.drawing.svg import arrow, line, marker, rect, scale, short, spread, svg, text, ticks, y_tick
from reports.figures import seconds_text


@dataclass(frozen=True)
class Piece:
    """One part of a bar: what it is (a CSS class) and how long."""

    kind: str
    size: float
    start: float | None = None
    """Where it begins; None continues after the piece before."""


def forest(
    estimate: float, low: float | None, high: float | None, margin: float | None, reach: float, slot: int, said: str
) -> Markup:
    """One difference with its interval against the margin band; `reach` is the largest absolute value of the axis."""
    width, height, pad = 300, 26, 12
    x_of = scale(-reach, reach, pad, width - pad)
    parts: list[Markup] = []
    if margin is not None:
        edge = min(margin, reach)
        parts.append(rect(x_of(-edge), 1, x_of(edge) - x_of(-edge), height - 2, "band"))
    parts.append(line(x_of(0), 0, x_of(0), height, "zero"))
    inner: list[Markup] = []
    if low is not None and high is not None:
        left, right = (min(max(end, -reach), reach) for end in (low, high))
        inner.append(line(x_of(left), 13, x_of(right), 13, "whisker"))
        inner += [arrow(x_of(-reach), 13, -1)] if low < -reach else []
        inner += [arrow(x_of(reach), 13, 1)] if high > reach else []
    if abs(estimate) <= reach:
        inner.append(marker(slot, x_of(estimate), 13, 5))
    parts.append(Markup('<g class="a{}">{}</g>').format(slot % 8, Markup("").join(inner)))
    return svg(width, height, parts, said, "forest")


def bar(pieces: Sequence[Piece], whole: float, said: str, height: int = 14) -> Markup:
    """A bar of stacked pieces; `whole` is the length that fills the width."""
    width, at, parts = 240.0, 0.0, []
    for piece in pieces:
        begin = at if piece.start is None else piece.start
        at = begin + piece.size
        if piece.size > 0 and whole > 0:
            parts.append(rect(begin / whole * width, 0, max(piece.size / whole * width, 0.6), height, f"k-{piece.kind}"))
    return svg(int(width), height, parts, said, "bar", stretch=True)


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
    """The calls of one cell on a common clock: waiting, loading, reading, writing."""
    width, left, row, right = 960, 190, 20, 76
    whole = max((t.end for t in tracks), default=0) or 1.0
    x_of = scale(0, whole, left, width - right)
    height = row * len(tracks) + 30
    parts = [line(x_of(t), 4, x_of(t), height - 22, "rule") for t in ticks(0, whole)]
    parts += [text(seconds_text(t), x_of(t), height - 6, "middle") for t in ticks(0, whole)]
    for index, track in enumerate(tracks):
        y = 6 + index * row
        parts.append(text(track.label, left - 10, y + 11, "end", "strong" if not track.failed else "strong bad"))
        parts += [_piece(piece, x_of, y) for piece in track.pieces if piece.size > 0]
        parts.append(text(track.note, x_of(track.end) + 6, y + 11, "start"))
    said = f"Waterfall of {len(tracks)} calls over {seconds_text(whole)}; the table below holds the same numbers"
    return svg(width, height, parts, said, "waterfall")


def lines(series: Sequence[tuple[str, int, Sequence[float]]], x_labels: tuple[str, str], said: str) -> Markup:
    """Lines over equally spaced sessions, for example the value of one dollar."""
    width, height, left, right, top, bottom = 720, 240, 52, 110, 12, 30
    values = [v for _, _, path in series for v in path]
    low, high = min(values), max(values)
    pad = (high - low) * 0.06 or 0.01
    y_of = scale(low - pad, high + pad, height - bottom, top)
    x_of = scale(0, max(len(path) for _, _, path in series) - 1 or 1, left, width - right)
    parts = [y_tick(t, y_of(t), left, width - right, f"{t:.2f}") for t in ticks(low - pad, high + pad)]
    heights = spread([y_of(path[-1]) for _, _, path in series], 14)
    for (name, slot, path), at in zip(series, heights, strict=True):
        drawn = " ".join(f"{'M' if i == 0 else 'L'}{short(x_of(i))} {short(y_of(v))}" for i, v in enumerate(path))
        parts.append(Markup('<path class="line a{} dash{}" d="{}"/>').format(slot % 8, slot % 6, drawn))
        parts.append(text(name, x_of(len(path) - 1) + 8, at + 4, "start", f"a{slot % 8} label"))
    parts += [text(x_labels[0], left, height - 8, "start"), text(x_labels[1], width - right, height - 8, "end")]
    return svg(width, height, parts, said, "chart")


def _piece(piece: Piece, x_of: Callable[[float], float], y: float) -> Markup:
    start = piece.start or 0.0
    return rect(x_of(start), y, max(x_of(start + piece.size) - x_of(start), 1), 14, f"k-{piece.kind}")
