"""The chart of the answer: cost against similarity, a region per arm and the Pareto front."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from reports.format import seconds_text, usd_text
from reports.page.svg import LogScale, frame, line, log_scale, marker, scale, short, spread, svg, text, ticks, x_tick, y_tick

Scale = Callable[[float], float]
Box = tuple[float, float, float, float]
"""Left, top, right and bottom of something already drawn."""
WIDTH = 7.0
"""Average width of a letter."""


@dataclass(frozen=True)
class Point:
    """One arm on the scatter chart; interval ends are None if unknown."""

    label: str
    slot: int
    """Position of the arm, which determines colour and shape."""
    x: float
    y: float
    x_low: float | None = None
    x_high: float | None = None
    y_low: float | None = None
    y_high: float | None = None


@dataclass(frozen=True)
class CostLine:
    """An arm with a known cost only."""

    label: str
    slot: int
    x: float


@dataclass(frozen=True)
class Axis:
    """The horizontal axis, on a log scale."""

    title: str
    written: Callable[[float], str]
    tick: Callable[[float], str]


def _usd_tick(value: float) -> str:
    return f"${value:,.2f}" if value >= 0.01 else f"${value:,.10f}".rstrip("0")


MONEY = Axis("cost per usable decision", usd_text, _usd_tick)
TIME = Axis("median time of a cell", seconds_text, seconds_text)


def scatter(
    points: Sequence[Point], x: Axis, y_title: str, floor: float | None = None, only_x: CostLine | None = None
) -> Markup:
    """Cost or time against a share, a region per arm from its two intervals, and the Pareto front."""
    width, height, left, top, right, bottom = 470, 330, 58, 14, 14, 52
    costs = [v for p in points for v in (p.x, p.x_low, p.x_high)] + ([only_x.x] if only_x else [])
    x_of = log_scale(costs, left + 14, width - right - 14)
    low, high = _share_domain([v for p in points for v in (p.y, p.y_low, p.y_high)] + [floor])
    y_of = scale(low, high, height - bottom, top)
    parts = [frame(left, top, width - right, height - bottom)]
    parts += [y_tick(t, y_of(t), left, width - right) for t in _share_ticks(low, high)]
    parts += [x_tick(x.tick(t), x_of.place(t), height - bottom) for t in x_of.ticks]
    spots = [(x_of.place(p.x), y_of(p.y)) for p in points]
    taken = [(x - 7, y - 7, x + 7, y + 7) for x, y in spots]
    if floor is not None:
        parts.append(_floor(floor, y_of(floor), left, width - right, taken))
    if only_x is not None:
        parts.append(_only_x(only_x, x_of.place(only_x.x), top, height - bottom))
    parts.append(_front(points, x_of.place, y_of))
    parts += [_region(p, x_of.place, y_of) for p in points]
    for point, spot, label in zip(points, spots, _labels(points, spots, left, width - right, taken), strict=True):
        parts.append(Markup('<g class="a{}">{}</g>').format(point.slot % 8, marker(point.slot, *spot, r=6)))
        parts.append(label)
    parts.append(text(x.title, (left + width - right) / 2, height - 10, "middle"))
    parts.append(
        Markup('<text transform="rotate(-90 14 {0})" x="14" y="{0}" text-anchor="middle">{1}</text>').format(
            short((top + height - bottom) / 2), y_title
        )
    )
    description = "; ".join(f"{p.label}: {x.written(p.x)}, {p.y * 100:.0f} %" for p in points)
    return svg(width, height, parts, f"{y_title} against {x.title}. {description}", "chart")


def _share_domain(values: Iterable[float | None]) -> tuple[float, float]:
    there = [v for v in values if v is not None]
    low, high = min(there, default=0.0), max(there, default=1.0)
    low = math.floor((low - 0.03) * 10) / 10
    high = math.ceil((high + 0.03) * 10) / 10
    low = max(low, -0.04 if min(there, default=0.0) >= 0 else -1.0)
    return low, min(max(high, low + 0.2), 1.05)


def _share_ticks(low: float, high: float) -> list[float]:
    return [t for t in ticks(low, min(high, 1.0)) if t <= 1.0001]


def _floor(value: float, y: float, left: float, right: float, taken: list[Box]) -> Markup:
    """The line with its label at a free place, which is added to `taken`."""
    label = f"noise floor {value * 100:.0f} %"
    wide = WIDTH * len(label)
    starts = (left + 6, right - wide - 6, (left + right - wide) / 2)
    boxes: list[Box] = [(x, top, x + wide, top + 14) for x in starts for top in (y - 17, y + 4)]
    box = next((b for b in boxes if not _covered(b, taken)), boxes[0])
    taken.append(box)
    return line(left, y, right, y, "floor") + text(label, box[0], box[1] + 11, "start")


def _only_x(arm: CostLine, x: float, top: float, bottom: float) -> Markup:
    drawn = line(x, top, x, bottom, f"only a{arm.slot % 8}")
    return drawn + text(arm.label, x - 6, top + 12, "end", f"a{arm.slot % 8} label")


def _region(point: Point, x_of: Callable[[float], float], y_of: Callable[[float], float]) -> Markup:
    """Four quarter ellipses between the interval ends; empty without both intervals."""
    if not point.x_low or not point.x_high or point.x_low <= 0 or point.y_low is None or point.y_high is None:
        return Markup("")
    x, y = x_of(point.x), y_of(point.y)
    west, east, south, north = x_of(point.x_low), x_of(point.x_high), y_of(point.y_low), y_of(point.y_high)
    quarters = [(east, y, east - x, y - north), (x, south, east - x, south - y)]
    quarters += [(west, y, x - west, south - y), (x, north, x - west, y - north)]
    arcs = " ".join(f"A{short(rx)} {short(ry)} 0 0 1 {short(px)} {short(py)}" for px, py, rx, ry in quarters)
    return Markup('<path class="region a{}" d="M{} {} {}"/>').format(point.slot % 8, short(x), short(north), arcs)


def _front(points: Sequence[Point], x_of: Callable[[float], float], y_of: Callable[[float], float]) -> Markup:
    """The arms that no other arm beats in both cost and quality."""
    best, front = -math.inf, []
    for point in sorted(points, key=lambda p: (p.x, -p.y)):
        if point.y > best:
            best = point.y
            front.append(point)
    path = " L".join(f"{short(x_of(p.x))} {short(y_of(p.y))}" for p in front)
    return Markup('<path class="front" d="M{}"/>').format(path) if len(front) > 1 else Markup("")


def _labels(
    points: Sequence[Point], spots: Sequence[tuple[float, float]], left: float, right: float, taken: list[Box]
) -> list[Markup]:
    """Labels next to their points, moved if they would cover something."""
    labels = []
    for point, (x, y) in zip(points, spots, strict=True):
        wide = WIDTH * len(point.label) + 4
        tries = [(x + 11, y + 4, "start"), (x - 11, y + 4, "end"), (x, y - 12, "middle"), (x, y + 21, "middle")]
        tries += [(x + 11, y - 12, "start"), (x + 11, y + 20, "start"), (x - 11, y - 12, "end"), (x - 11, y + 20, "end")]
        placed = [(_box(tx, ty, anchor, wide), tx, ty, anchor) for tx, ty, anchor in tries]
        inside = [p for p in placed if p[0][0] >= left and p[0][2] <= right]
        free = [p for p in inside if not _covered(p[0], taken)]
        box, tx, ty, anchor = (free or inside or placed)[0]
        taken.append(box)
        labels.append(text(point.label, tx, ty, anchor, f"a{point.slot % 8} label"))
    return labels


def _box(x: float, y: float, anchor: str, wide: float) -> Box:
    start = x - {"start": 0.0, "end": wide, "middle": wide / 2}[anchor]
    return start, y - 11, start + wide, y + 3


def _covered(box: Box, taken: Sequence[Box]) -> bool:
    return any(box[0] < t[2] and box[2] > t[0] and box[1] < t[3] and box[3] > t[1] for t in taken)


CURVE_POINTS = 240
"""Enough to draw steps as steps."""
_LONGEST = 20
_LABEL_PX = 44


@dataclass(frozen=True)
class Bill:
    """The monthly cost of one arm."""

    name: str
    slot: int
    """Position of the arm, which determines colour and dashes."""
    usd: Callable[[float], float]
    """Decisions a month -> US dollars."""


@dataclass(frozen=True)
class Crossing:
    """Where self-hosting becomes cheaper."""

    local: str
    hosted: str
    slot: int
    """Of the local arm."""
    decisions: float
    usd: float


def monthly_chart(bills: Sequence[Bill], crossings: Sequence[Crossing], first: float, last: float) -> Markup:
    """Each bill as a line from first to last decisions a month on log axes, with every crossing marked."""
    width, height, left, top, bottom = 560, 300, 66, 14, 52
    right = width - 14 - 7.2 * max(len(_shortened(bill.name)) for bill in bills)
    counts = _log_steps(first, last)
    paths = [[max(bill.usd(count), 0.0) for count in counts] for bill in bills]
    x_of = log_scale((first, last), left, right)
    y_of = log_scale([usd for path in paths for usd in path], height - bottom, top)
    parts = [frame(left, top, right, height - bottom)]
    parts += [y_tick(t, y_of.place(t), left, right, MONEY.tick(t)) for t in _thinned(y_of.ticks)]
    parts += [x_tick(f"{t:,.0f}", x_of.place(t), height - bottom) for t in _thinned(x_of.ticks)]
    parts += [_bill_line(bill, path, counts, x_of, y_of) for bill, path in zip(bills, paths, strict=True)]
    ends = spread([y_of.place(path[-1]) for path in paths], 14)
    parts += [
        text(_shortened(b.name), right + 8, at + 4, "start", f"a{b.slot % 8} label") for b, at in zip(bills, ends, strict=True)
    ]
    parts += _crossing_marks(crossings, x_of, y_of)
    parts.append(text("decisions a month", (left + right) / 2, height - 10, "middle"))
    parts.append(text("cost of a month", left + 8, top + 8, "start"))
    return svg(width, height, parts, _description(crossings), "monthly")


def _log_steps(first: float, last: float) -> list[float]:
    """Equally spaced on the log axis."""
    ratio = (last / first) ** (1 / (CURVE_POINTS - 1))
    return [first * ratio**step for step in range(CURVE_POINTS)]


def _bill_line(bill: Bill, path: Sequence[float], counts: Sequence[float], x_of: LogScale, y_of: LogScale) -> Markup:
    spots = [f"{short(x_of.place(count))} {short(y_of.place(usd))}" for count, usd in zip(counts, path, strict=True) if usd > 0]
    return Markup('<path class="line a{} dash{}" d="M{}"/>').format(bill.slot % 8, bill.slot % 6, " L".join(spots))


def _crossing_marks(crossings: Sequence[Crossing], x_of: LogScale, y_of: LogScale) -> list[Markup]:
    """Markers of all crossings; of labels that would overlap only the first is drawn, since the table lists all."""
    drawn, free_from = [], 0.0
    for crossing in sorted(crossings, key=lambda crossing: crossing.decisions):
        x, y = x_of.place(crossing.decisions), y_of.place(crossing.usd)
        drawn.append(Markup('<g class="a{}">{}</g>').format(crossing.slot % 8, marker(crossing.slot, x, y)))
        if x >= free_from:
            drawn.append(text(f"{crossing.decisions:,.0f}", x, y + 20, "middle", "strong"))
            free_from = x + _LABEL_PX
    return drawn


def _thinned(ticks: Sequence[float]) -> list[float]:
    """Every second decade where there are many."""
    return list(ticks[:: math.ceil(len(ticks) / 6)])


def _shortened(name: str) -> str:
    return name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…"


def _description(crossings: Sequence[Crossing]) -> str:
    sentences = [
        f"{crossing.local} is cheaper than {crossing.hosted} from {crossing.decisions:,.0f} decisions a month"
        for crossing in crossings
    ]
    return "Cost of a month over decisions a month. " + ("; ".join(sentences) or "Self-hosting is never cheaper")
