"""Elements of SVG: scales, ticks, texts, lines, boxes and markers of arms; escaped, coloured by CSS class."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from markupsafe import Markup, escape

SHAPES = ("circle", "square", "triangle", "diamond", "cross", "star")
"""Marker of the n-th arm, so that arms differ in more than colour."""


def marker(slot: int, x: float = 7, y: float = 7, r: float = 5) -> Markup:
    """The shape of the n-th arm, drawn in the current colour."""
    shape = SHAPES[slot % len(SHAPES)]
    if shape == "circle":
        return Markup('<circle cx="{}" cy="{}" r="{}"/>').format(short(x), short(y), short(r))
    return Markup('<path d="{}"/>').format(_outline(shape, x, y, r))


def swatch(slot: int) -> Markup:
    """A small marker for legends and headings, next to the name."""
    return Markup('<svg class="swatch a{}" viewBox="0 0 14 14" aria-hidden="true">{}</svg>').format(slot % 8, marker(slot))


def svg(width: int, height: int, parts: Iterable[Markup], label: str, kind: str, stretch: bool = False) -> Markup:
    aspect = Markup(' preserveAspectRatio="none"') if stretch else ""
    return Markup('<svg class="{}" viewBox="0 0 {} {}"{} role="img" aria-label="{}">{}</svg>').format(
        kind, width, height, aspect, label, Markup("").join(parts)
    )


def text(content: str, x: float, y: float, anchor: str, kind: str = "") -> Markup:
    named = Markup(' class="{}"').format(kind) if kind else ""
    return Markup('<text x="{}" y="{}" text-anchor="{}"{}>{}</text>').format(short(x), short(y), anchor, named, escape(content))


def line(x1: float, y1: float, x2: float, y2: float, kind: str) -> Markup:
    return Markup('<line class="{}" x1="{}" y1="{}" x2="{}" y2="{}"/>').format(kind, *map(short, (x1, y1, x2, y2)))


def rect(x: float, y: float, width: float, height: float, kind: str) -> Markup:
    box = (x, y, max(width, 0), height)
    return Markup('<rect class="{}" x="{}" y="{}" width="{}" height="{}"/>').format(kind, *map(short, box))


def tipped(drawn: Markup, tip: str) -> Markup:
    """Marks that show their values to the pointer and the keyboard."""
    return Markup('<g data-tip="{}">{}</g>').format(tip, drawn) if tip else drawn


def arrow(x: float, y: float, way: int) -> Markup:
    return Markup('<path d="M{} {} l{} -5 v10 z"/>').format(short(x + way * 9), short(y), -way * 8)


def frame(left: float, top: float, right: float, bottom: float) -> Markup:
    return line(left, bottom, right, bottom, "axis") + line(left, top, left, bottom, "axis")


def x_tick(label: str, x: float, bottom: float) -> Markup:
    return line(x, bottom, x, bottom + 4, "axis") + text(label, x, bottom + 18, "middle")


def y_tick(value: float, y: float, left: float, right: float, label: str = "") -> Markup:
    written = (label or f"{value * 100:.0f} %").replace("-", "\u2212")
    return line(left, y, right, y, "rule") + text(written, left - 8, y + 4, "end")


def scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    span = (high - low) or 1.0
    return lambda value: start + (value - low) / span * (end - start)


@dataclass(frozen=True)
class LogScale:
    place: Callable[[float], float]
    ticks: tuple[float, ...]


def log_scale(values: Iterable[float | None], start: float, end: float) -> LogScale:
    logs = [math.log10(v) for v in values if v is not None and v > 0] or [-2.0, -1.0]
    low, high = min(logs), max(logs)
    if high - low < 0.6:
        low, high = (low + high) / 2 - 0.3, (low + high) / 2 + 0.3
    steps = (1,) if high - low > 2.5 else (1, 2, 5)
    decades = range(math.floor(low), math.ceil(high) + 1)
    ticks = tuple(s * 10.0**d for d in decades for s in steps if low <= math.log10(s * 10.0**d) <= high)
    linear = scale(low, high, start, end)
    return LogScale(lambda value: linear(math.log10(value)), ticks)


def ticks(low: float, high: float, wanted: int = 5) -> list[float]:
    step = 10 ** math.floor(math.log10((high - low) / wanted or 1))
    step = next(s * step for s in (1, 2, 5, 10) if (high - low) / (s * step) <= wanted + 1)
    first = math.ceil(low / step - 1e-9)
    return [i * step for i in range(first, math.floor(high / step + 1e-9) + 1)]


def spread(wanted: Sequence[float], gap: float) -> list[float]:
    """Heights close to the wanted ones, at least `gap` apart."""
    order = sorted(range(len(wanted)), key=lambda i: wanted[i])
    placed, last = [0.0] * len(wanted), -math.inf
    for index in order:
        last = max(wanted[index], last + gap)
        placed[index] = last
    return placed


def short(value: float) -> str:
    return f"{value:.1f}".rstrip("0").rstrip(".")


def _outline(shape: str, x: float, y: float, r: float) -> str:
    corners = {
        "square": [(-0.9, -0.9), (0.9, -0.9), (0.9, 0.9), (-0.9, 0.9)],
        "triangle": [(0, -1.1), (1.1, 0.9), (-1.1, 0.9)],
        "diamond": [(0, -1.25), (1.25, 0), (0, 1.25), (-1.25, 0)],
        "cross": [(-0.9, -1.1), (0, -0.35), (0.9, -1.1), (0.4, 0), (0.9, 1.1), (0, 0.35), (-0.9, 1.1), (-0.4, 0)],
        "star": [
            (f * math.sin(i * math.pi / 5), -f * math.cos(i * math.pi / 5))
            for i in range(10)
            for f in (1.3 if i % 2 == 0 else 0.55,)
        ],
    }[shape]
    return "M" + " L".join(f"{short(x + dx * r)} {short(y + dy * r)}" for dx, dy in corners) + "z"
