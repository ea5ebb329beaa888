"""What local hardware costs: three lines kept apart - marginal (energy), full (with the purchase), rented."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol

from agents import Timing

HOURS_PER_YEAR = 8766.0
JOULES_PER_KWH = 3.6e6


class HardwareCost(Protocol):
    """What was said of a machine's price; None where it was not. harness.experiment.terms.LocalCost has it."""

    @property
    def usd_per_gpu_hour(self) -> float | None: ...
    @property
    def usd_per_cpu_hour(self) -> float | None: ...
    @property
    def watts(self) -> float | None: ...
    @property
    def usd_per_kwh(self) -> float | None: ...
    @property
    def purchase_usd(self) -> float | None: ...
    @property
    def lifetime_years(self) -> float | None: ...
    @property
    def utilisation(self) -> float | None: ...


@dataclass(frozen=True)
class Lines:
    """US dollars of the same work, by three ways of reckoning; None where something for it is not known."""

    marginal_usd: float | None
    """Electricity above idle: what one more decision costs on hardware that stands there anyway."""
    full_usd: float | None
    """Electricity and this work's share of the purchase."""
    rented_usd: float | None
    """Hardware time at a rental price."""
    basis: str
    """gpu_time or cpu_time."""
    energy_is_measured: bool = False
    """Whether the energy was metered, or is watts x time as declared."""


def busy_s(timing: Timing) -> float | None:
    """Seconds that a server says it computed for a call: load, prefill and decode; None where it does not say."""
    told = [part for part in (timing.load_s, timing.prefill_s, timing.decode_s) if part is not None]
    if timing.prefill_s is None and timing.decode_s is None:
        return None
    return sum(told)


def device(cost: HardwareCost, provider: str) -> str:
    """gpu or cpu: the embedded models compute on the CPU, other servers on what has a price."""
    if provider == "llamacpp":
        return "cpu"
    return "cpu" if cost.usd_per_gpu_hour is None and cost.usd_per_cpu_hour is not None else "gpu"


def rate_usd_per_hour(cost: HardwareCost, provider: str) -> float | None:
    """Rental price of the hardware that computes."""
    return cost.usd_per_cpu_hour if device(cost, provider) == "cpu" else cost.usd_per_gpu_hour


def basis(cost: HardwareCost, provider: str) -> str:
    """gpu_time, cpu_time, energy or unknown: the first of rental price and energy price that is known."""
    if rate_usd_per_hour(cost, provider) is not None:
        return f"{device(cost, provider)}_time"
    return "energy" if cost.watts is not None and cost.usd_per_kwh is not None else "unknown"


def usd(seconds: float, cost: HardwareCost, provider: str) -> float | None:
    """Price of seconds of hardware, by its basis; None where that is unknown."""
    rate = rate_usd_per_hour(cost, provider)
    if rate is not None:
        return seconds / 3600 * rate
    return energy_usd(seconds, cost, None)


def energy_usd(seconds: float, cost: HardwareCost, joules: float | None) -> float | None:
    """Electricity above idle: metered joules where there are any, else declared watts x seconds."""
    if cost.usd_per_kwh is None:
        return None
    if joules is None:
        joules = None if cost.watts is None else cost.watts * seconds
    return None if joules is None else joules / JOULES_PER_KWH * cost.usd_per_kwh


def amortised_usd(seconds: float, cost: HardwareCost, utilisation: float | None) -> float | None:
    """This work's share of the purchase: price / (lifetime x utilisation) per second of computing."""
    share = cost.utilisation if cost.utilisation is not None else utilisation
    if cost.purchase_usd is None or cost.lifetime_years is None or not share:
        return None
    return cost.purchase_usd / (cost.lifetime_years * HOURS_PER_YEAR * 3600 * share) * seconds


def lines(
    seconds: float, cost: HardwareCost, provider: str, joules: float | None = None, utilisation: float | None = None
) -> Lines:
    """The three lines for seconds of computing; `joules` above idle where a meter ran, `utilisation` as measured."""
    energy = energy_usd(seconds, cost, joules)
    purchase = amortised_usd(seconds, cost, utilisation)
    rate = rate_usd_per_hour(cost, provider)
    return Lines(
        marginal_usd=energy,
        full_usd=None if energy is None or purchase is None else energy + purchase,
        rented_usd=None if rate is None else seconds / 3600 * rate,
        basis=f"{device(cost, provider)}_time",
        energy_is_measured=joules is not None,
    )
