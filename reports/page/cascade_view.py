"""The section on cascades: for each cheaper arm its signals, the curve of the best one, and the arm to paste."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property

from markupsafe import Markup

from reports.cascades import MOST_EXCESS, Frontier, Point, frontiers
from reports.format import MINUS, percent_text
from reports.metrics.facts import Facts
from reports.page import svg

WIDTH, HEIGHT = 420, 220
LEFT, RIGHT, TOP, BOTTOM = 48, 396, 10, 176


@dataclass(frozen=True)
class FirstArm:
    """One cheaper arm: its signals, the one that sorts errors best first."""

    name: str
    signals: tuple[Frontier, ...]

    @property
    def best(self) -> Frontier:
        """The signal whose chosen threshold keeps most cases; else the one that sorts errors best."""
        chosen = [frontier for frontier in self.signals if frontier.chosen]
        return max(chosen, key=lambda frontier: frontier.chosen.kept if frontier.chosen else 0.0) if chosen else self.signals[0]

    @property
    def curve(self) -> Markup:
        return curve(self.best)


class CascadeView:
    """Data of the section; `arms` is empty where no cheaper arm has a signal and the baseline no repeats."""

    def __init__(self, facts: Facts) -> None:
        self._facts = facts

    @cached_property
    def arms(self) -> tuple[FirstArm, ...]:
        by_arm: dict[str, list[Frontier]] = {}
        for frontier in frontiers(self._facts):
            if frontier.points:
                by_arm.setdefault(frontier.first, []).append(frontier)
        return tuple(FirstArm(name, tuple(signals)) for name, signals in by_arm.items())


def curve(frontier: Frontier) -> Markup:
    """Loss against the share of cases that stays with the cheap arm, with its bound and the promise."""
    points = frontier.points
    highest = max([2 * MOST_EXCESS, *(point.excess_bound for point in points if math.isfinite(point.excess_bound))])
    lowest = min([0.0, *(point.excess for point in points)])
    x, y = svg.scale(0.0, 1.0, LEFT, RIGHT), svg.scale(highest, lowest, TOP, BOTTOM)
    parts = [svg.y_tick(value, y(value), LEFT, RIGHT, f"{value * 100:.0f}") for value in svg.ticks(lowest, highest, 4)]
    parts += [svg.x_tick(f"{share * 100:.0f} %", x(share), BOTTOM) for share in (0.0, 0.25, 0.5, 0.75, 1.0)]
    parts.append(svg.line(LEFT, y(MOST_EXCESS), RIGHT, y(MOST_EXCESS), "margin-line"))
    parts.append(_path([(x(point.kept), y(point.excess)) for point in points], "curve-seen"))
    parts.append(_path([(x(point.kept), y(point.excess_bound)) for point in points], "curve-bound"))
    if len(points) == 1:
        parts.append(Markup('<g class="look-open">{}</g>').format(svg.marker(0, x(points[0].kept), y(points[0].excess), 4.5)))
    if frontier.chosen:
        chosen = frontier.chosen
        parts.append(Markup('<g class="look-shown">{}</g>').format(svg.marker(0, x(chosen.kept), y(chosen.excess_bound), 4.5)))
    parts += _hits(points, x)
    parts.append(svg.text("share of cases that stay with the cheap arm", (LEFT + RIGHT) / 2, BOTTOM + 38, "middle"))
    return svg.svg(WIDTH, HEIGHT, parts, f"loss in points by share kept: {frontier.sentence}", "looks curve")


def _hits(points: Sequence[Point], x: Callable[[float], float]) -> Iterator[Markup]:
    """A strip around each point that shows its values."""
    ordered = sorted(points, key=lambda point: point.kept)
    middles = [(x(one.kept) + x(two.kept)) / 2 for one, two in itertools.pairwise(ordered)]
    for point, start, end in zip(ordered, [LEFT, *middles], [*middles, RIGHT], strict=True):
        lost, bound = (f"{value * 100:.1f}".replace("-", MINUS) for value in (point.excess, point.excess_bound))
        known = f", at most {bound}" if math.isfinite(point.excess_bound) else ""
        tip = f"{percent_text(point.kept)} of cases stay: {lost} points lost{known}"
        yield svg.tipped(svg.rect(start, TOP, end - start, BOTTOM - TOP, "hit"), tip)


def _path(places: Sequence[tuple[float, float]], kind: str) -> Markup:
    steps = " L".join(f"{svg.short(x)} {svg.short(y)}" for x, y in places if math.isfinite(y))
    return Markup('<path class="{}" fill="none" d="M{}"/>').format(kind, steps) if steps else Markup("")
