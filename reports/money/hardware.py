"""Cost of self-hosted models: marginal (energy), full (with the purchase) and rented, and energy from a meter's readings."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise

from domain.hardware import HOURS_PER_YEAR, JOULES_PER_KWH, Hardware


@dataclass(frozen=True)
class CostLines:
    """US dollars of the same work, by three ways of reckoning; None where something for it is not known."""

    marginal_usd: float | None
    """Electricity above idle: what more work costs on hardware that stands there anyway."""
    full_usd: float | None
    """Electricity, and this work's share of the purchase."""
    rented_usd: float | None
    """Hardware time at a rental price."""
    device: str
    energy_is_measured: bool = False
    """Whether the energy was metered; else it is watts x time as declared."""
    missing: tuple[str, ...] = ()
    """What would have to be said or measured."""


def energy_usd(seconds: float, hardware: Hardware, joules: float | None = None) -> float | None:
    """Electricity above idle: metered joules where there are any, else declared watts x seconds."""
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
    """The three lines for seconds of computing; `joules` above idle where a meter ran, `utilisation` as measured."""
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
        energy_is_measured=joules is not None and hardware.usd_per_kwh is not None,
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
"""A gap between two readings longer than this many usual ones means that the meter stopped."""
LEAST_COVERED = 0.9
"""Share of a span that must have been seen, or its energy is not known."""


@dataclass(frozen=True)
class PowerReading:
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


def parse_readings(lines: Iterable[str]) -> list[PowerReading]:
    """Readings of a meter's file, in order; a line that a crash cut short, or that is no reading, is left out."""
    found = []
    for line in lines:
        try:
            said = json.loads(line)
            reading = PowerReading(float(said["at"]), float(said["watts"]))
        except (ValueError, KeyError, TypeError):
            continue
        if math.isfinite(reading.at) and math.isfinite(reading.watts) and reading.watts >= 0:
            found.append(reading)
    return sorted(found, key=lambda reading: reading.at)


def idle_watts(readings: Sequence[PowerReading], busy: Sequence[tuple[float, float]]) -> float | None:
    """Median power while nothing was asked; None where the meter saw no such moment."""
    quiet = sorted(one.watts for one in readings if not any(start <= one.at <= end for start, end in busy))
    return quiet[len(quiet) // 2] if quiet else None


def energy_used(readings: Sequence[PowerReading], start: float, end: float, idle: float | None) -> Energy:
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


def _at(before: PowerReading, after: PowerReading, moment: float) -> float:
    """Power at a moment between two readings."""
    part = (moment - before.at) / (after.at - before.at)
    return before.watts + (after.watts - before.watts) * part
