"""What comes back from a model: an answer with its usage and times, or why there is none."""

from __future__ import annotations

from dataclasses import dataclass, field

from agents.contract.request import ToolCall
from domain.usage import Usage

CAUSES: tuple[str, ...] = (
    "rate_limited",
    "capacity",
    "quota",
    "server_error",
    "timeout",
    "connection",
    "cut_stream",
    "bad_answer",
    "bad_request",
    "too_long",
    "auth",
    "not_found",
    "unsupported",
)
"""What can go wrong with a request. `capacity` is flex's own 429; `quota` an exhausted account (never mended by waiting);
`bad_answer` an HTTP 200 whose body is not the documented format."""


@dataclass(frozen=True)
class Timing:
    """Seconds, as measured here (ttft, duration) or told by the server (load, prefill, decode)."""

    started_at: float = 0.0
    """Unix time when the request left."""
    ttft_s: float | None = None
    duration_s: float | None = None
    load_s: float | None = None
    prefill_s: float | None = None
    decode_s: float | None = None


@dataclass(frozen=True)
class Answer:
    """What a model answered, whole; also an unusable answer is one, and billed."""

    text: str
    reasoning: str | None = None
    tool_calls: tuple[ToolCall, ...] = ()
    finish_reason: str = "stop"
    """stop | length | tool_calls | refused | content_filter | unknown."""
    truncated: bool = False
    """The prompt or the answer was cut: never a valid decision."""
    usage: Usage = field(default_factory=Usage)
    timing: Timing = Timing()
    model_returned: str | None = None
    model_digest: str | None = None
    context_window: int | None = None
    service_tier: str | None = None
    request_id: str | None = None


@dataclass(frozen=True)
class Failure:
    """Why a request brought no answer."""

    cause: str
    """One of CAUSES."""
    message: str
    error_type: str
    http_status: int | None = None
    retry_after_s: float | None = None
    request_id: str | None = None
