"""What self-hosted hardware costs, as servers.yaml and the run's manifest declare it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from domain.providers import PROVIDERS

HOURS_PER_YEAR = 8766.0
HOURS_PER_MONTH = HOURS_PER_YEAR / 12
JOULES_PER_KWH = 3.6e6


@dataclass(frozen=True)
class Hardware:
    """Declared prices of a machine; None where nothing is declared."""

    provider: str
    slots: int = 1
    usd_per_gpu_hour: float | None = None
    usd_per_cpu_hour: float | None = None
    watts: float | None = None
    usd_per_kwh: float | None = None
    purchase_usd: float | None = None
    lifetime_years: float | None = None
    utilisation: float | None = None
    watts_card: str = ""
    """Name of the hardware card that `watts` is from; empty if declared."""

    @classmethod
    def of(cls, plain: Mapping[str, Any]) -> Hardware:
        """From plain values of the manifest; what an older run did not write stays None."""
        known = {key: value for key, value in plain.items() if key in cls.__dataclass_fields__}
        return cls(**{"provider": "unknown"} | known)

    @property
    def device(self) -> str:
        """gpu or cpu: the embedded models compute on the CPU, other servers on what has a price."""
        provider = PROVIDERS.get(self.provider)
        if provider is not None and provider.is_embedded:
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

    def usd(self, seconds: float) -> float | None:
        """Price of seconds of the machine: by its rental price, else by its energy; None if neither is declared."""
        if self.usd_per_hour is not None:
            return seconds / 3600 * self.usd_per_hour
        return None if self.energy_usd_per_s is None else self.energy_usd_per_s * seconds

    @property
    def purchase_usd_per_month(self) -> float | None:
        """The purchase spread over its lifetime."""
        if self.purchase_usd is None or not self.lifetime_years:
            return None
        return self.purchase_usd / (self.lifetime_years * 12)


def energy_usd(seconds: float, hardware: Hardware, joules: float | None = None) -> float | None:
    """Electricity above idle: metered joules where there are any, else declared watts x seconds."""
    if joules is not None and hardware.usd_per_kwh is not None:
        return joules / JOULES_PER_KWH * hardware.usd_per_kwh
    rate = hardware.energy_usd_per_s
    return None if rate is None else rate * seconds
