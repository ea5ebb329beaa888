"""Uncertain numbers as draws, and their 80 % intervals."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Draws = NDArray[np.float64]

COUNT = 4_000
LOW, HIGH = 10, 90


@dataclass(frozen=True)
class Interval:
    """10th, 50th and 90th percentile; None where something for it is unknown."""

    low: float | None
    mid: float | None
    high: float | None

    def to_plain(self) -> dict[str, float | None]:
        return {"low": self.low, "mid": self.mid, "high": self.high}


UNKNOWN = Interval(None, None, None)


def interval(draws: Draws | None) -> Interval:
    """The 80 % interval and the middle of drawn values."""
    import numpy as np

    if draws is None:
        return UNKNOWN
    low, mid, high = (float(one) for one in np.percentile(draws, [LOW, 50, HIGH]))
    return Interval(low, mid, high)


def total(arms: Sequence[Draws | None]) -> Draws | None:
    """Sum over arms, draw by draw; None where one is unknown."""
    import numpy as np

    known = [draws for draws in arms if draws is not None]
    if len(known) < len(arms):
        return None
    return np.sum(known, axis=0) if known else np.zeros(COUNT)


def lognormal(name: str, spread: float) -> Draws:
    import numpy as np

    return np.exp(generator(name).normal(0.0, spread, COUNT)) if spread else np.ones(COUNT)


def generator(name: str) -> Any:
    """A generator of its own for each uncertain thing, so that arms which share it share its draws, run after run."""
    import numpy as np

    return np.random.default_rng(int(sha256(name.encode()).hexdigest()[:12], 16))
