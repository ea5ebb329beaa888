"""The power meter: writes the GPU power that NVML reports, and its energy counter, one line per reading."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from threading import Event
from typing import Any

from harness.errors import InvalidInput, Problem

PERIOD_S = 0.5


@dataclass(frozen=True)
class Power:
    """What NVML reports at one moment, summed over the machine's GPUs."""

    watts: float
    joules: float | None = None
    """Energy since the driver was loaded; None if a GPU has no counter."""


Read = Callable[[], Power]
"""Reads the meter. Raises whatever its library raises when it cannot."""


@contextmanager
def nvml() -> Iterator[Read]:
    """A reader of the sum over this machine's NVIDIA GPUs. Raises InvalidInput where there is none."""
    import pynvml

    try:
        pynvml.nvmlInit()
        gpus = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(pynvml.nvmlDeviceGetCount())]
        sum(pynvml.nvmlDeviceGetPowerUsage(gpu) for gpu in gpus)
    except pynvml.NVMLError as error:
        fix = "run the meter on the machine of the GPU, or set watts in servers.yaml"
        raise InvalidInput([Problem("meter", f"NVML gives no power here: {error}", fix)]) from error
    try:
        yield lambda: _power(pynvml, gpus)
    finally:
        pynvml.nvmlShutdown()


def sample(read: Read, path: Path, stop: Event, period_s: float = PERIOD_S, clock: Callable[[], float] = time.time) -> int:
    """Append readings to a file until stopped; a failed reading leaves a gap. Returns the number of readings."""
    path.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    with path.open("a", encoding="utf-8", buffering=1) as file:
        while not stop.is_set():
            power = _look(read)
            if power is not None:
                counter = {} if power.joules is None else {"joules": round(power.joules, 3)}
                file.write(json.dumps({"at": round(clock(), 3), "watts": round(power.watts, 1)} | counter) + "\n")
                count += 1
            stop.wait(period_s)
    return count


def _power(nvml: Any, gpus: list[Any]) -> Power:
    """NVML counts milliwatts and, from Volta on, millijoules."""
    joules = None
    with suppress(nvml.NVMLError):
        joules = sum(nvml.nvmlDeviceGetTotalEnergyConsumption(gpu) for gpu in gpus) / 1000
    return Power(sum(nvml.nvmlDeviceGetPowerUsage(gpu) for gpu in gpus) / 1000, joules)


def _look(read: Read) -> Power | None:
    try:
        power = read()
    except Exception:  # noqa: BLE001 - NVML raises a class for each way in which a GPU can be away
        return None
    return power if power.watts >= 0 else None
