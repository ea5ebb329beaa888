"""Retries by cause of failure; docs/faults.md explains this table to users."""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass

from agents import Failure

DEFER_OVER_S = 30.0
"""For a longer back-off the cell leaves the worker and is queued again."""
FAILURES_AT_ONE_CALL_SITE = 20
_MOST_DOUBLINGS = 30


@dataclass(frozen=True)
class Retry:
    """How one cause of failure is retried."""

    tries: int
    """Requests in total, over all attempts at the cell; 1: no retry."""
    first_s: float = 0.0
    """Back-off after the first failure; it doubles with each."""
    longest_s: float = 0.0
    lesson: str = ""
    """Effect on the server's slots: shrink, pause, or none."""
    billed: bool = False
    """Whether the server may have billed an answer that never arrived."""


RETRIES: Mapping[str, Retry] = {
    "rate_limited": Retry(tries=12, first_s=1.0, longest_s=120.0, lesson="shrink"),
    "capacity": Retry(tries=12, first_s=5.0, longest_s=300.0, lesson="shrink"),
    "server_error": Retry(tries=8, first_s=0.5, longest_s=120.0, lesson="pause"),
    "timeout": Retry(tries=3, first_s=2.0, longest_s=60.0, lesson="pause", billed=True),
    "connection": Retry(tries=9, first_s=0.5, longest_s=120.0, lesson="pause"),
    "cut_stream": Retry(tries=4, first_s=0.5, longest_s=30.0, lesson="pause", billed=True),
    "bad_answer": Retry(tries=2, first_s=1.0, longest_s=10.0, billed=True),
    "quota": Retry(tries=1),
    "bad_request": Retry(tries=1),
    "too_long": Retry(tries=1),
    "auth": Retry(tries=1),
    "not_found": Retry(tries=1),
    "unsupported": Retry(tries=1),
    "expired": Retry(tries=3, first_s=1.0, longest_s=60.0),
    "cancelled": Retry(tries=FAILURES_AT_ONE_CALL_SITE, first_s=0.5, longest_s=5.0),
    "uncertain": Retry(tries=3, first_s=1.0, longest_s=60.0, billed=True),
}


_GATEWAY_STATUSES = (502, 503, 504)
"""What a proxy answers while the server behind it is away."""


def is_away(cause: str, http_status: int | None) -> bool:
    """Whether a request failed because its server is away, so that every other request to it fails as well."""
    return cause == "connection" or (cause == "server_error" and http_status in _GATEWAY_STATUSES)


def pause_s(failure: Failure, failures: Mapping[str, int], draw: float | None = None, *, away: int = 0) -> float | None:
    """Seconds until the request may be sent again, None if it must not be.

    `failures` counts the failures at this call site by cause, this one included; `draw` in [0, 1) replaces chance.
    `away` counts those for which the server was away and has not answered since: they do not use up the tries, because
    `unreachable_after` of the server bounds them.
    """
    retry = RETRIES[failure.cause]
    if not away and (failures[failure.cause] >= retry.tries or sum(failures.values()) >= FAILURES_AT_ONE_CALL_SITE):
        return None
    doublings = min(failures[failure.cause] + away, _MOST_DOUBLINGS) - 1
    longest: float = min(retry.longest_s, retry.first_s * 2**doublings)
    chance = random.random() if draw is None else draw
    # Half fixed, half random: cells that failed together do not retry together, and none retries at once.
    jittered = longest * (0.5 + 0.5 * chance)
    return max(jittered, failure.retry_after_s or 0.0)
