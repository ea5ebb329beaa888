"""The units that people write: durations such as 25m, and shares such as 2pp."""

from __future__ import annotations

import re

_SECONDS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86_400.0}
_SHARES = {"pp": 0.01, "%": 0.01, "bp": 0.0001, "": 1.0}


def seconds(text: str) -> float:
    """Seconds of a duration: 90s, 25m, 2h, 90d. Raises ValueError."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*([smhd])\s*", text)
    if not match:
        raise ValueError(f"{text!r} is no duration; write 90s, 25m, 2h, 90d or plain seconds")
    return float(match[1]) * _SECONDS[match[2]]


def share(text: str) -> float:
    """Fraction of a margin or share: 2pp, 5%, 20bp or 0.02. Raises ValueError."""
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*(pp|%|bp|)\s*", text)
    if not match:
        raise ValueError(f"{text!r} is no margin; write 2pp, 5%, 20bp or a fraction such as 0.02")
    return float(match[1]) * _SHARES[match[2]]


def change(text: str) -> float:
    """Signed fraction of a change: -10pp, +10% or -0.1. Raises ValueError."""
    match = re.fullmatch(r"\s*([+-])(.*)", text)
    if not match:
        raise ValueError(f"{text!r} is no change; write -10pp, +10% or a signed fraction such as -0.1")
    return float(f"{match[1]}1") * share(match[2])
