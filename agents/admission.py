"""The admission protocol: what the caller of the pipeline decides about each request, and what it records."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

from agents.types import Answer, CallSite, Failure, Request, Timing


@dataclass(frozen=True)
class WorstCase:
    """The most tokens that one request can use, for the money ledger."""

    input_tokens: int
    output_tokens: int


@dataclass(frozen=True)
class Permit:
    """Permission to send one request now; admission may have reserved a slot and money for it."""

    call_id: str
    queued_s: float = 0.0
    backoff_s: float = 0.0


@dataclass(frozen=True)
class Call:
    """One request as sent, with its answer or its failure."""

    call_id: str
    site: CallSite
    request: Request
    timing: Timing
    answer: Answer | None = None
    failure: Failure | None = None
    params: Mapping[str, Any] = field(default_factory=dict)
    """Parameters as sent (without those that the provider drops)."""
    not_sent: Mapping[str, Any] = field(default_factory=dict)
    """Options of the request that the server was not sent: its API, its model or the model's parameters rule them out."""
    queued_s: float = 0.0
    backoff_s: float = 0.0


class Admission(Protocol):
    """Decides about each request and records it; implemented by the caller of the pipeline."""

    async def recall(self, site: CallSite, request: Request) -> Answer | None:
        """The recorded answer, or None if it was not paid for yet. Raises Suspended if it was requested and comes later.

        A request with a fingerprint is recalled by it, from any call site: the nth time gives the nth answer; else by its
        call site, if most lines of the prompt are those of then. Any other request is recalled by its call site, if it is the
        same request as then.
        """

    async def admit(self, site: CallSite, request: Request, worst_case: WorstCase) -> Permit:
        """Wait for a slot and for money. Raises Suspended if the answer comes later, Halt if the cell must not continue."""

    async def record(self, call: Call) -> float | None:
        """Record the call, free its slot and settle its cost.

        After a failure: seconds to wait before the next attempt, or None if there must be none. After an answer: None.
        """

    async def discard(self, site: CallSite, permit: Permit) -> None:
        """The request was abandoned in flight (cancelled, or the process is ending) and may still be billed."""


@dataclass(frozen=True)
class ComposedRequest:
    """A request as it goes over the wire, to be sent later."""

    path: str
    """/v1/responses or /v1/chat/completions."""
    body: Mapping[str, Any]
    params: Mapping[str, Any]
    """The parameters in the body."""


@runtime_checkable
class DeferringAdmission(Protocol):
    """An admission that also takes requests of deferred lanes."""

    async def defer(self, site: CallSite, request: Request, worst_case: WorstCase, composed: ComposedRequest) -> Failure:
        """Have a request sent later. Raises Suspended until `recall` has its answer.

        Returns the last failure of a request that must not be sent again.
        """
