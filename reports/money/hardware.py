"""What hardware of one's own costs: three lines kept apart - marginal (energy), full (with the purchase), rented."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

HOURS_PER_YEAR = 8766.0
HOURS_PER_MONTH = HOURS_PER_YEAR / 12
JOULES_PER_KWH = 3.6e6


@dataclass(frozen=True)
class Hardware:
    """What was said of a machine's price; None where it was not."""

    provider: str
    slots: int = 1
    usd_per_gpu_hour: float | None = None
    usd_per_cpu_hour: float | None = None
    watts: float | None = None
    usd_per_kwh: float | None = None
    purchase_usd: float | None = None
    lifetime_years: float | None = None
    utilisation: float | None = None

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Hardware:
        """From the manifest's plain values; what an older run did not write is not known."""
        known = {key: value for key, value in plain.items() if key in cls.__dataclass_fields__}
        return cls(**{"provider": "unknown"} | known)

    @property
    def device(self) -> str:
        """gpu or cpu: the embedded models compute on the CPU, other servers on what has a price."""
        if self.provider == "llamacpp":
            return "cpu"
        return "cpu" if self.usd_per_gpu_hour is None and self.usd_per_cpu_hour is not None else "gpu"

    @property
    def usd_per_hour(self) -> float | None:
        """Rental price of what computes."""
        return self.usd_per_cpu_hour if self.device == "cpu" else self.usd_per_gpu_hour

    @property
    def energy_usd_per_s(self) -> float | None:
        """Declared power above idle, in dollars per second of computing."""
        if self.watts is None or self.usd_per_kwh is None:
            return None
        return self.watts / JOULES_PER_KWH * self.usd_per_kwh

    @property
    def purchase_usd_per_month(self) -> float | None:
        """The purchase spread over its lifetime."""
        if self.purchase_usd is None or not self.lifetime_years:
            return None
        return self.purchase_usd / (self.lifetime_years * 12)


@dataclass(frozen=True)
class Lines:
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


def lines(seconds: float | None, hardware: Hardware, joules: float | None = None, utilisation: float | None = None) -> Lines:
    """The three lines for seconds of computing; `joules` above idle where a meter ran, `utilisation` as measured."""
    missing = tuple(_missing(seconds, hardware, joules, utilisation))
    if seconds is None:
        return Lines(None, None, None, hardware.device, missing=missing)
    energy = energy_usd(seconds, hardware, joules)
    purchase = amortised_usd(seconds, hardware, utilisation)
    rate = hardware.usd_per_hour
    return Lines(
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
