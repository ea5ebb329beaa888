"""The chart of cost against likeness: a mark per arm with the interval of its gap, the noise floor and the best trade-offs.

Across, positions are in per cent of the plot, and down in px, so that text keeps its size at every width."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markupsafe import Markup, escape

from reports.page.svg import log_scale, marker, short

HEIGHT = 320
NOMINAL = 640
"""Width in px for which labels are placed; on a phone they are hidden and the legend is read instead."""
LETTER = 7.2
Box = tuple[float, float, float, float]


@dataclass(frozen=True)
class ScatterPoint:
    """One arm."""

    label: str
    slot: int
    x: float
    """Cost or time; zero and unknown ones are not drawn."""
    y: float
    """Share of cases with the baseline's rating."""
    low: float | None
    """The interval of the gap, put at the noise floor; None without one."""
    high: float | None
    title: str
    """What the reader sees when pointing at it."""


@dataclass(frozen=True)
class Axis:
    """The horizontal axis, on a log scale."""

    title: str
    tick: Callable[[float], str]


def usd_tick(value: float) -> str:
    """A short label of a power of ten, or of 2 and 5 times one."""
    if value >= 1000:
        return f"${value / 1000:,.0f}k" if value < 1e6 else f"${value / 1e6:,.0f}M"
    return f"${value:,.0f}" if value >= 1 else f"${value:.10f}".rstrip("0")


def scatter(points: Sequence[ScatterPoint], axis: Axis, floor: float | None, margin: float | None, label: str) -> Markup:
    """The drawing, inside a `.plot` box that leaves room for the axes."""
    place = log_scale([point.x for point in points], 4.0, 92.0)
    parts = [*_rules(), *_ticks(place.ticks, place.place, axis)]
    if floor is not None:
        parts += _floor(floor, margin)
    parts += _front(points, place.place)
    spots = [(place.place(point.x) / 100 * NOMINAL, _y(point.y)) for point in points]
    taken: list[Box] = [(x - 8, y - 8, x + 8, y + 8) for x, y in spots]
    for point, spot in zip(points, spots, strict=True):
        parts.append(_mark(point, place.place(point.x), _label(point, spot, taken)))
    return Markup('<svg class="scatter" height="{}" role="img" aria-label="{}">{}</svg>').format(
        HEIGHT, label, Markup("").join(parts)
    )


def caption(points: Sequence[ScatterPoint], margin: float | None) -> str:
    """What the marks of the drawing mean."""
    sentences = []
    if any(point.low is not None for point in points):
        sentences.append("Vertical bars: the interval of the gap to the noise floor, as in the table.")
    if margin:
        sentences.append("Green: within the margin of the noise floor.")
    if len(_best(points)) > 1:
        sentences.append("Dashed: the best trade-offs; nothing is both cheaper and more alike.")
    return " ".join(sentences)


def _y(share: float) -> float:
    return HEIGHT * (1 - share)


def _rules() -> list[Markup]:
    rules = []
    for share in (0.0, 0.2, 0.4, 0.6, 0.8, 1.0):
        y, label_y = short(_y(share)), short(_y(share) + 4)
        rules.append(Markup('<line class="rule" x1="0" x2="100%" y1="{0}" y2="{0}"/>').format(y))
        rules.append(Markup('<text x="-8" y="{}" text-anchor="end">{} %</text>').format(label_y, round(share * 100)))
    return rules


def _ticks(values: Sequence[float], place: Callable[[float], float], axis: Axis) -> list[Markup]:
    shown = values[:: math.ceil(len(values) / 6)]
    line = Markup(
        '<line class="axis" x1="{0}%" x2="{0}%" y1="{1}" y2="{2}"/><text x="{0}%" y="{3}" text-anchor="middle">{4}</text>'
    )
    marks = [line.format(short(place(value)), HEIGHT, HEIGHT + 5, HEIGHT + 18, axis.tick(value)) for value in shown]
    title = Markup('<text x="50%" y="{}" text-anchor="middle">{}, log scale</text>').format(HEIGHT + 36, axis.title)
    return [Markup('<line class="axis" x1="0" x2="100%" y1="{0}" y2="{0}"/>').format(HEIGHT), *marks, title]


def _floor(floor: float, margin: float | None) -> list[Markup]:
    parts = []
    if margin:
        top, bottom = _y(min(floor + margin, 1.0)), _y(max(floor - margin, 0.0))
        band = Markup('<rect class="band" x="0" width="100%" y="{}" height="{}"/>')
        parts.append(band.format(short(top), short(bottom - top)))
    y = short(_y(floor))
    parts.append(Markup('<line class="floor" x1="0" x2="100%" y1="{0}" y2="{0}"/>').format(y))
    parts.append(
        Markup('<text class="strong floor-label" x="100%" dx="8" y="{}">noise floor {} %</text>').format(
            short(_y(floor) + 4), f"{floor * 100:.1f}"
        )
    )
    return parts


def _front(points: Sequence[ScatterPoint], place: Callable[[float], float]) -> list[Markup]:
    """Segments between the best trade-offs."""
    line = Markup('<line class="front" x1="{}%" y1="{}" x2="{}%" y2="{}"/>')
    return [
        line.format(short(place(one.x)), short(_y(one.y)), short(place(two.x)), short(_y(two.y)))
        for one, two in pairwise(_best(points))
    ]


def _best(points: Sequence[ScatterPoint]) -> list[ScatterPoint]:
    """The arms that nothing beats in both cost and likeness, the cheapest first."""
    best, front = -math.inf, []
    for point in sorted(points, key=lambda point: (point.x, -point.y)):
        if point.y > best:
            best = point.y
            front.append(point)
    return front


def _mark(point: ScatterPoint, x: float, label: tuple[float, float, str]) -> Markup:
    whisker = ""
    if point.low is not None and point.high is not None:
        top, bottom = (short(_y(min(max(end, 0.0), 1.0)) - _y(point.y)) for end in (point.high, point.low))
        whisker = Markup('<line class="whisker" x1="0" x2="0" y1="{}" y2="{}"/>').format(top, bottom)
    dx, dy, anchor = label
    return Markup(
        '<svg class="point a{slot}" x="{x}%" y="{y}" overflow="visible"><g><title>{title}</title>{whisker}{mark}'
        '<circle class="hit" r="16"/><text class="label" x="{dx}" y="{dy}" text-anchor="{anchor}">{label}</text></g></svg>'
    ).format(
        slot=point.slot % 8,
        x=short(x),
        y=short(_y(point.y)),
        title=point.title,
        whisker=whisker,
        mark=marker(point.slot, 0, 0, 6),
        dx=short(dx),
        dy=short(dy),
        anchor=anchor,
        label=escape(_shortened(point.label)),
    )


def _label(point: ScatterPoint, spot: tuple[float, float], taken: list[Box]) -> tuple[float, float, str]:
    """Offset and anchor of a label that covers nothing, at the nominal width."""
    x, y = spot
    wide = LETTER * len(_shortened(point.label)) + 4
    tries = [(12.0, 4.0, "start"), (-12.0, 4.0, "end"), (0.0, -14.0, "middle"), (0.0, 22.0, "middle")]
    tries += [(12.0, -12.0, "start"), (12.0, 20.0, "start"), (-12.0, -12.0, "end"), (-12.0, 20.0, "end")]
    boxes = [(_box(x + dx, y + dy, anchor, wide), (dx, dy, anchor)) for dx, dy, anchor in tries]
    inside = [one for one in boxes if one[0][0] >= 0 and one[0][2] <= NOMINAL]
    free = [one for one in inside if not any(_overlap(one[0], other) for other in taken)]
    box, chosen = (free or inside or boxes)[0]
    taken.append(box)
    return chosen


def _box(x: float, y: float, anchor: str, wide: float) -> Box:
    start = x - {"start": 0.0, "end": wide, "middle": wide / 2}[anchor]
    return start, y - 11, start + wide, y + 3


def _overlap(one: Box, two: Box) -> bool:
    return one[0] < two[2] and one[2] > two[0] and one[1] < two[3] and one[3] > two[1]


def _shortened(name: str) -> str:
    return name if len(name) <= 24 else name[:23] + "…"
