"""The price of one call on hardware of one's own: the seconds that the server says it computed, times what they cost."""

from __future__ import annotations

from agents import Timing
from domain.hardware import Hardware, energy_usd


def busy_s(timing: Timing) -> float | None:
    """Seconds that a server says it computed for a call: load, prefill and decode; None where it does not say."""
    if timing.prefill_s is None and timing.decode_s is None:
        return None
    return sum(part for part in (timing.load_s, timing.prefill_s, timing.decode_s) if part is not None)


def basis(hardware: Hardware) -> str:
    """gpu_time, cpu_time, energy or unknown: the first of rental price and energy price that is known."""
    if hardware.usd_per_hour is not None:
        return f"{hardware.device}_time"
    return "unknown" if hardware.energy_usd_per_s is None else "energy"


def usd(seconds: float, hardware: Hardware) -> float | None:
    """Price of seconds of hardware, by its basis; None where that is unknown.

    Calls that a server computes at the same time are each priced whole; the machine's own time, in which they count
    once, stands in reports.economics."""
    if hardware.usd_per_hour is not None:
        return seconds / 3600 * hardware.usd_per_hour
    return energy_usd(seconds, hardware)
