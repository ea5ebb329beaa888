"""Energy from a meter's readings: joules above idle over a span, and how much of the span the meter saw."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

MOST_GAP = 5.0
"""A gap between two readings longer than this many usual ones means that the meter stopped."""
LEAST_COVERED = 0.9
"""Share of a span that must have been seen, or its energy is not known."""


@dataclass(frozen=True)
class Reading:
    """One look at the meter."""

    at: float
    """Unix seconds."""
    watts: float


@dataclass(frozen=True)
class Energy:
    """What was used in a span."""

    joules: float | None
    """Above idle; None where the meter saw too little of the span."""
    covered: float
    """Share of the span between readings that belong together."""
    idle_watts: float | None


def parse(lines: Iterable[str]) -> list[Reading]:
    """Readings of a meter's file, in order; a line that a crash cut short, or that is no reading, is left out."""
    found = []
    for line in lines:
        try:
            said = json.loads(line)
            reading = Reading(float(said["at"]), float(said["watts"]))
        except (ValueError, KeyError, TypeError):
            continue
        if math.isfinite(reading.at) and math.isfinite(reading.watts) and reading.watts >= 0:
            found.append(reading)
    return sorted(found, key=lambda reading: reading.at)


def idle_watts(readings: Sequence[Reading], busy: Sequence[tuple[float, float]]) -> float | None:
    """Median power while nothing was asked; None where the meter saw no such moment."""
    quiet = sorted(one.watts for one in readings if not any(start <= one.at <= end for start, end in busy))
    return quiet[len(quiet) // 2] if quiet else None


def used(readings: Sequence[Reading], start: float, end: float, idle: float | None) -> Energy:
    """Joules between two moments, by trapezoids between readings, with the idle power subtracted; never below zero."""
    span = end - start
    if span <= 0 or len(readings) < 2:
        return Energy(None, 0.0, idle)
    usual = sorted(after.at - before.at for before, after in pairwise(readings))[len(readings) // 2 - 1]
    joules = covered = 0.0
    for before, after in pairwise(readings):
        left, right = max(before.at, start), min(after.at, end)
        if right > left and after.at - before.at <= MOST_GAP * usual:
            covered += right - left
            joules += (_at(before, after, left) + _at(before, after, right)) / 2 * (right - left)
    share = covered / span
    if share < LEAST_COVERED or idle is None:
        return Energy(None, share, idle)
    return Energy(max(0.0, joules / share - idle * span), share, idle)


def _at(before: Reading, after: Reading, moment: float) -> float:
    """Power at a moment between two readings."""
    part = (moment - before.at) / (after.at - before.at)
    return before.watts + (after.watts - before.watts) * part
