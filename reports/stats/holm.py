"""Holm's step-down correction over the declared endpoints of a pair, with Shaffer's (1986) use of logic.

An endpoint brings one or two hypotheses: "there is no difference", and with a margin "the difference is no smaller than the
margin". They exclude each other, so at most one per endpoint is true, and the divisor is the number of endpoints that have a
hypothesis left. Without margins this is Holm's procedure.
"""

from __future__ import annotations

from collections.abc import Sequence

Claims = Sequence[Sequence[float]]
"""p-values of each endpoint's hypotheses."""


def level(claims: Claims, alpha: float) -> float:
    """The level at which every hypothesis of the family is tested in the end; those with p at most this are rejected."""
    left = [len(of_endpoint) for of_endpoint in claims]
    for p, endpoint in _in_order(claims):
        if not p <= alpha / _still_open(left):
            break
        left[endpoint] -= 1
    return alpha / max(_still_open(left), 1)


def adjusted(claims: Claims) -> list[float]:
    """For each endpoint the smallest alpha at which one of its hypotheses would be rejected."""
    left = [len(of_endpoint) for of_endpoint in claims]
    result, worst = [1.0] * len(claims), 0.0
    for p, endpoint in _in_order(claims):
        worst = max(worst, min(1.0, p * _still_open(left)))
        if left[endpoint] == len(claims[endpoint]):
            result[endpoint] = worst
        left[endpoint] -= 1
    return result


def _in_order(claims: Claims) -> list[tuple[float, int]]:
    return sorted((p, endpoint) for endpoint, of_endpoint in enumerate(claims) for p in of_endpoint)


def _still_open(left: Sequence[int]) -> int:
    return sum(count > 0 for count in left)
