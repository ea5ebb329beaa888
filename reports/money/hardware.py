"""What hardware of one's own costs: three lines kept apart - marginal (energy), full (with the purchase), rented."""

from __future__ import annotations

from dataclasses import dataclass

from domain.hardware import HOURS_PER_YEAR, Hardware, energy_usd


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
