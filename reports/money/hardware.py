"""Cost of self-hosted models: marginal (energy), full (with the purchase) and rented, and energy from a meter's readings."""

from __future__ import annotations

import json
import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from domain.hardware import HOURS_PER_YEAR, JOULES_PER_KWH, Hardware


@dataclass(frozen=True)
class CostLines:
    """US dollars of the same work, computed in three ways; None if a value for it is unknown."""

    marginal_usd: float | None
    """Electricity above idle: the cost of more work on existing hardware."""
    full_usd: float | None
    """Electricity, and this work's share of the purchase."""
    rented_usd: float | None
    """Hardware time at a rental price."""
    device: str
    watts_card: str = ""
    """Name of the hardware card whose watts were used; empty if they were declared, or the energy was metered."""
    missing: tuple[str, ...] = ()
    """Values that would have to be declared or measured."""


def energy_usd(seconds: float, hardware: Hardware, joules: float | None = None) -> float | None:
    """Electricity above idle: metered joules if available, else declared watts x seconds."""
    if joules is not None and hardware.usd_per_kwh is not None:
        return joules / JOULES_PER_KWH * hardware.usd_per_kwh
    rate = hardware.energy_usd_per_s
    return None if rate is None else rate * seconds


def amortised_usd(seconds: float, hardware: Hardware, utilisation: float | None = None) -> float | None:
    """This work's share of the purchase: price / (lifetime x utilisation) per second of computing."""
    share = hardware.utilisation if hardware.utilisation is not None else utilisation
    if hardware.purchase_usd is None or not hardware.lifetime_years or not share:
        return None
    return hardware.purchase_usd / (hardware.lifetime_years * HOURS_PER_YEAR * 3600 * share) * seconds


def cost_lines(
    seconds: float | None, hardware: Hardware, joules: float | None = None, utilisation: float | None = None
) -> CostLines:
    """The three costs of some seconds of computing; `joules` above idle if metered, `utilisation` as measured."""
    missing = tuple(_missing(seconds, hardware, joules, utilisation))
    if seconds is None:
        return CostLines(None, None, None, hardware.device, missing=missing)
    energy = energy_usd(seconds, hardware, joules)
    purchase = amortised_usd(seconds, hardware, utilisation)
    rate = hardware.usd_per_hour
    return CostLines(
        marginal_usd=energy,
        full_usd=None if energy is None or purchase is None else energy + purchase,
        rented_usd=None if rate is None else seconds / 3600 * rate,
        device=hardware.device,
        watts_card=hardware.watts_card if joules is None else "",
        missing=missing,
    )


def _missing(seconds: float | None, hardware: Hardware, joules: float | None, utilisation: float | None) -> list[str]:
    lacking = ["seconds that the server computed"] if seconds is None else []
    lacking += ["usd_per_kwh"] if hardware.usd_per_kwh is None else []
    lacking += ["watts, or a meter"] if hardware.watts is None and joules is None else []
    lacking += [] if hardware.purchase_usd is not None and hardware.lifetime_years else ["purchase_usd and lifetime_years"]
    lacking += [] if hardware.utilisation or utilisation else ["utilisation"]
    return lacking + ([f"usd_per_{hardware.device}_hour"] if hardware.usd_per_hour is None else [])


MOST_GAP = 5.0
"""A gap longer than this many usual gaps between readings means that the meter stopped."""
LEAST_COVERED = 0.9
"""Share of a span that must have been metered, or its energy is unknown."""


@dataclass(frozen=True)
class PowerReading:
    """One reading of the meter."""

    at: float
    """Unix seconds."""
    watts: float
    joules: float | None = None
    """The GPU's own energy counter, if it has one."""


def parse_readings(lines: Iterable[str]) -> list[PowerReading]:
    """Readings of a meter's file, in order, without invalid or truncated lines."""
    readings = []
    for line in lines:
        try:
            record = json.loads(line)
            joules = record.get("joules")
            reading = PowerReading(float(record["at"]), float(record["watts"]), None if joules is None else float(joules))
        except (ValueError, KeyError, TypeError):
            continue
        if math.isfinite(reading.at) and math.isfinite(reading.watts) and reading.watts >= 0:
            readings.append(reading)
    return sorted(readings, key=lambda reading: reading.at)


def idle_watts(readings: Sequence[PowerReading], busy: Sequence[tuple[float, float]]) -> float | None:
    """Median power without a call in progress; None without such a reading."""
    quiet = sorted(reading.watts for reading in readings if not any(start <= reading.at <= end for start, end in busy))
    return quiet[len(quiet) // 2] if quiet else None


def energy_used(readings: Sequence[PowerReading], start: float, end: float, idle: float | None) -> float | None:
    """Joules between two times (trapezoids between readings) minus idle power; None if too little was metered."""
    span = end - start
    if span <= 0 or len(readings) < 2:
        return None
    usual = sorted(after.at - before.at for before, after in pairwise(readings))[len(readings) // 2 - 1]
    joules = covered = 0.0
    for before, after in pairwise(readings):
        left, right = max(before.at, start), min(after.at, end)
        if right > left and after.at - before.at <= MOST_GAP * usual:
            covered += right - left
            joules += (_at(before, after, left) + _at(before, after, right)) / 2 * (right - left)
    share = covered / span
    if share < LEAST_COVERED or idle is None:
        return None
    return max(0.0, joules / share - idle * span)


def counted_joules(readings: Sequence[PowerReading], start: float, end: float) -> float | None:
    """Energy between two times by the GPU's own counter, idle power included; None if the readings do not span them."""
    known = [reading for reading in readings if reading.joules is not None]
    if len(known) < 2 or start < known[0].at or end > known[-1].at:
        return None
    first, last = (_counter(known, moment) for moment in (start, end))
    return last - first


def _counter(readings: Sequence[PowerReading], moment: float) -> float:
    """The counter at a time, linear between two readings."""
    place = max(1, bisect_left([reading.at for reading in readings], moment))
    before, after = readings[place - 1], readings[place]
    part = (moment - before.at) / (after.at - before.at)
    return (before.joules or 0.0) + ((after.joules or 0.0) - (before.joules or 0.0)) * part


def _at(before: PowerReading, after: PowerReading, moment: float) -> float:
    """Power at a time between two readings."""
    part = (moment - before.at) / (after.at - before.at)
    return before.watts + (after.watts - before.watts) * part
