"""Seconds of a machine: while several requests are with it at a time, each has its share of every second."""

from __future__ import annotations

from collections.abc import Sequence

Span = tuple[float, float]
"""Start and end of a request, in Unix seconds."""


def shares(spans: Sequence[Span]) -> list[float]:
    """Seconds of the machine that each request used; their sum is the time in which it had any request."""
    moments = sorted({moment for span in spans for moment in span})
    starts, ends = sorted(start for start, _ in spans), sorted(end for _, end in spans)
    used_until: dict[float, float] = {}
    total = previous = 0.0
    started = ended = active = 0
    for moment in moments:
        if active:
            total += (moment - previous) / active
        used_until[moment], previous = total, moment
        while started < len(starts) and starts[started] <= moment:
            started += 1
        while ended < len(ends) and ends[ended] <= moment:
            ended += 1
        active = started - ended
    return [used_until[end] - used_until[start] for start, end in spans]
