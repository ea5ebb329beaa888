"""Bars and lines as server-side SVG: stacked bars, forest plot, waterfall of calls, value over time; coloured by CSS class."""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from markupsafe import Markup

from reports import format
from reports.answer import wording
from reports.format import known, seconds_text
from reports.money import breakdown
from reports.money.breakdown import Spend
from reports.page.svg import arrow, line, marker, rect, scale, svg, text, ticks, tipped

if TYPE_CHECKING:
    from reports.answer.findings import Comparison, MetricRow


@dataclass(frozen=True)
class Piece:
    """One part of a bar: its kind (a CSS class) and length."""

    kind: str
    size: float
    start: float | None = None
    """Start position; None: after the previous piece."""
    tip: str = ""
    """What it shows to the pointer and the keyboard."""


def forest_line(
    estimate: float, low: float | None, high: float | None, margin: float | None, reach: float, slot: int, label: str
) -> Markup:
    """One difference with its interval and the margin band; `reach` is the largest absolute value of the axis."""
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
    return svg(width, height, parts, label, "forest")


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
    """Tokens per cell by kind."""
    parts = {arm: _per_cell(breakdown.token_parts(spend), spend.cells) for arm, spend in spends.items()}
    return _bars(parts, slots, lambda size: f"{size:,.0f}", "tokens per cell")


def time_bars(spends: Mapping[str, Spend], slots: Mapping[str, int]) -> list[StackedBar]:
    """Seconds of requests per cell by part."""
    parts = {arm: _per_cell(breakdown.time_parts(spend), spend.cells) for arm, spend in spends.items()}
    return _bars(parts, slots, format.seconds_text, "per cell")


def _per_cell(parts: Sequence[tuple[str, float]], cells: int) -> list[tuple[str, float]]:
    return [(kind, size / max(cells, 1)) for kind, size in parts]


def _bars(
    parts: Mapping[str, Sequence[tuple[str, float]]], slots: Mapping[str, int], write: Writer, unit: str
) -> list[StackedBar]:
    longest = max((sum(size for _, size in sizes) for sizes in parts.values()), default=0.0)
    lines = []
    for arm, sizes in parts.items():
        length = sum(size for _, size in sizes)
        label = f"{arm}: " + ", ".join(f"{kind} {write(size)}" for kind, size in sizes if size) + f" {unit}"
        pieces = tuple(Piece(kind, size, tip=f"{kind}: {write(size)} {unit}") for kind, size in sizes)
        lines.append(StackedBar(slots[arm], arm, pieces, longest, Markup("{}").format(write(length)), label))
    return lines


FAR = 4.0
"""An interval longer than this many times the largest estimate or margin is cut off, with an arrow."""


@dataclass(frozen=True)
class ForestPlot:
    """The plot of one metric; ratios are on a log scale."""

    row: MetricRow
    reach: float
    """Largest absolute value shown."""

    @property
    def ends(self) -> tuple[str, str]:
        """Labels of the two ends of the axis."""
        unit, scale = self.row.metric.unit, self.row.metric.scale
        values = (math.exp(-self.reach), math.exp(self.reach)) if scale == "ratio" else (-self.reach, self.reach)
        return wording.difference(unit, scale, values[0]), wording.difference(unit, scale, values[1])

    def line(self, comparison: Comparison, slot: int) -> Markup:
        """One arm's estimate and interval; empty without an estimate."""
        metric, scale = self.row.metric, comparison.scale
        if scale != metric.scale:  # a cost of zero has no ratio and no position on this axis
            return Markup("")
        value, low, high = (_position(v, scale) for v in _three(comparison))
        if value is None or math.isinf(value):
            return Markup("")
        label = f"{comparison.arm} against {comparison.baseline}: {wording.interval(metric, scale, comparison.estimate)}"
        return forest_line(value, low, high, _margin(self.row), self.reach, slot, label)


def forest_plot(row: MetricRow, rules: Collection[str] = ()) -> ForestPlot:
    """The plot of a metric, wide enough for the margin and the intervals of arms with models."""
    drawn = [comparison for comparison in row.comparisons.values() if comparison.arm not in rules] or list(
        row.comparisons.values()
    )
    places = [
        [_position(v, comparison.scale) for v in _three(comparison)]
        for comparison in drawn
        if comparison.scale == row.metric.scale
    ]
    ends = [abs(v) for three in places for v in three if v is not None and math.isfinite(v)]
    centres = [abs(v) for v, _, _ in places if v is not None and math.isfinite(v)]
    margin = _margin(row) or 0.0
    limit = FAR * max([*centres, margin], default=0.0) or math.inf
    reach = min(max([*ends, margin], default=0.0), limit) * 1.12 or 1.0
    return ForestPlot(row, min(reach, 1.0) if row.metric.unit == "share" else reach)


def _three(comparison: Comparison) -> Iterator[float]:
    yield from (comparison.estimate.value, comparison.estimate.low, comparison.estimate.high)


def _position(value: float, scale: str) -> float | None:
    """Position of a value; None if unknown, minus infinity for a ratio of zero."""
    if not known(value):
        return None
    if scale != "ratio":
        return value
    return math.log(value) if value > 0 else -math.inf


def _margin(row: MetricRow) -> float | None:
    if row.margin is None:
        return None
    return math.log1p(row.margin) if row.metric.scale == "ratio" else row.margin
