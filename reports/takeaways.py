"""The takeaways: three to six sentences made from the numbers, each linked to its test."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Takeaway:
    """One sentence and where its number stands."""

    text: str
    endpoint: str
    """Name of the endpoint whose row is the proof."""
    arm: str | None = None
