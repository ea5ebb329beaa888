"""The chart of break-even: what a month costs over decisions a month, for hosted arms and for hardware of one's own."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from reports.drawing.scatter import MONEY
from reports.drawing.svg import LogScale, frame, log_scale, marker, short, spread, svg, text, x_tick, y_tick

POINTS = 240
"""So many that a step is a step."""
_LONGEST = 20
_LABEL_PX = 44


@dataclass(frozen=True)
class Bill:
    """One arm's month."""

    name: str
    slot: int
    """Position of the arm: chooses colour and dashes."""
    usd: Callable[[float], float]
    """Decisions a month -> US dollars."""


@dataclass(frozen=True)
class Crossing:
    """Where hardware of one's own becomes the cheaper one."""

    local: str
    hosted: str
    slot: int
    """Of the local arm."""
    decisions: float
    usd: float


def draw(bills: Sequence[Bill], crossings: Sequence[Crossing], first: float, last: float) -> Markup:
    """Each bill as a line over first to last decisions a month, both axes logarithmic; every crossing marked."""
    width, height, left, top, bottom = 560, 300, 66, 14, 52
    right = width - 14 - 7.2 * max(len(_cut(bill.name)) for bill in bills)
    counts = _steps(first, last)
    paths = [[max(bill.usd(count), 0.0) for count in counts] for bill in bills]
    x_of = log_scale((first, last), left, right)
    y_of = log_scale([usd for path in paths for usd in path], height - bottom, top)
    parts = [frame(left, top, right, height - bottom)]
    parts += [y_tick(t, y_of.place(t), left, right, MONEY.tick(t)) for t in _few(y_of.ticks)]
    parts += [x_tick(f"{t:,.0f}", x_of.place(t), height - bottom) for t in _few(x_of.ticks)]
    parts += [_line(bill, path, counts, x_of, y_of) for bill, path in zip(bills, paths, strict=True)]
    ends = spread([y_of.place(path[-1]) for path in paths], 14)
    parts += [text(_cut(b.name), right + 8, at + 4, "start", f"a{b.slot % 8} label") for b, at in zip(bills, ends, strict=True)]
    parts += _marks(crossings, x_of, y_of)
    parts.append(text("decisions a month", (left + right) / 2, height - 10, "middle"))
    parts.append(text("cost of a month", left + 8, top + 8, "start"))
    return svg(width, height, parts, _said(crossings), "monthly")


def _steps(first: float, last: float) -> list[float]:
    """Equally spaced on the log axis."""
    ratio = (last / first) ** (1 / (POINTS - 1))
    return [first * ratio**step for step in range(POINTS)]


def _line(bill: Bill, path: Sequence[float], counts: Sequence[float], x_of: LogScale, y_of: LogScale) -> Markup:
    spots = [f"{short(x_of.place(count))} {short(y_of.place(usd))}" for count, usd in zip(counts, path, strict=True) if usd > 0]
    return Markup('<path class="line a{} dash{}" d="M{}"/>').format(bill.slot % 8, bill.slot % 6, " L".join(spots))


def _marks(crossings: Sequence[Crossing], x_of: LogScale, y_of: LogScale) -> list[Markup]:
    """Of crossings too close to be told apart, the first one's number stands for all; the table has each."""
    drawn, free_from = [], 0.0
    for one in sorted(crossings, key=lambda crossing: crossing.decisions):
        x, y = x_of.place(one.decisions), y_of.place(one.usd)
        drawn.append(Markup('<g class="a{}">{}</g>').format(one.slot % 8, marker(one.slot, x, y)))
        if x >= free_from:
            drawn.append(text(f"{one.decisions:,.0f}", x, y + 20, "middle", "strong"))
            free_from = x + _LABEL_PX
    return drawn


def _few(ticks: Sequence[float]) -> list[float]:
    """Every second decade where there are many."""
    return list(ticks[:: math.ceil(len(ticks) / 6)])


def _cut(name: str) -> str:
    return name if len(name) <= _LONGEST else name[: _LONGEST - 1] + "…"


def _said(crossings: Sequence[Crossing]) -> str:
    told = [f"{one.local} is cheaper than {one.hosted} from {one.decisions:,.0f} decisions a month" for one in crossings]
    return "Cost of a month over decisions a month. " + ("; ".join(told) or "Hardware of one's own is nowhere cheaper")
