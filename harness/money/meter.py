"""The power meter: writes the GPU power that NVML reports, one line per reading."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Event

from harness.errors import InvalidInput, Problem

PERIOD_S = 0.5
Read = Callable[[], float]
"""Looks at the meter: watts now. Raises whatever its library raises when it cannot."""


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
        yield lambda: sum(pynvml.nvmlDeviceGetPowerUsage(gpu) for gpu in gpus) / 1000
    finally:
        pynvml.nvmlShutdown()


def sample(read: Read, path: Path, stop: Event, period_s: float = PERIOD_S, clock: Callable[[], float] = time.time) -> int:
    """Append readings to a file until stopped; a failed reading leaves a gap. Returns the number of readings."""
    path.parent.mkdir(parents=True, exist_ok=True)
    count = 0
    with path.open("a", encoding="utf-8", buffering=1) as file:
        while not stop.is_set():
            watts = _look(read)
            if watts is not None:
                file.write(json.dumps({"at": round(clock(), 3), "watts": round(watts, 1)}) + "\n")
                count += 1
            stop.wait(period_s)
    return count


def _look(read: Read) -> float | None:
    try:
        watts = read()
    except Exception:  # noqa: BLE001 - NVML raises a class for each way in which a GPU can be away
        return None
    return watts if watts >= 0 else None
