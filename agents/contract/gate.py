"""The contract of the one door: what the caller of the pipeline decides about each request, and how it is recorded."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from agents.contract.answer import Answer, Failure, Timing
from agents.contract.request import Place, Request


@dataclass(frozen=True)
class WorstCase:
    """The most one request can use, for the money ledger."""

    input_tokens: int
    output_tokens: int


@dataclass(frozen=True)
class Permit:
    """Leave to send one request now; the gate may put its own hold on a slot and on money behind it."""

    call_id: str
    queued_s: float = 0.0
    backoff_s: float = 0.0


@dataclass(frozen=True)
class Call:
    """One request as it was sent, with its answer or its failure."""

    call_id: str
    place: Place
    request: Request
    timing: Timing
    answer: Answer | None = None
    failure: Failure | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    """What was really sent (a parameter the provider drops is not in it)."""
    queued_s: float = 0.0
    backoff_s: float = 0.0


class Gate(Protocol):
    """What the caller of the pipeline decides about each request; the harness implements it."""

    async def recall(self, place: Place, request: Request) -> Answer | None:
        """The answer that this place of this cell already paid for, if there is one."""

    async def admit(self, place: Place, request: Request, worst_case: WorstCase) -> Permit:
        """Wait for a slot and for money. Raises Halt when the cell must not go on."""

    async def record(self, call: Call) -> float | None:
        """Keep the call, free its slot, settle its money. After a failure: seconds to wait before the place may be asked
        again, or None when it must not be; after an answer always None."""

    async def discard(self, place: Place, permit: Permit) -> None:
        """The request of this permit was abandoned in flight (cancelled, or its process is going): it may still be billed."""
