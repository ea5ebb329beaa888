"""Why a request failed: every exception and error body is mapped to one of the causes."""

from __future__ import annotations

import asyncio
import email.utils
import math
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from agents.llms.wire import Wire
from agents.types import Failure
from domain.providers import PROVIDERS

_MESSAGE_CHARS = 2000
_BY_STATUS = {
    401: "auth",
    403: "auth",
    404: "not_found",
    408: "timeout",
    413: "too_long",
    429: "rate_limited",
    501: "unsupported",
}
TOO_LONG = (
    "context_length_exceeded",
    "exceed_context_size",
    "exceeds the context window",
    "maximum context length",
    "context length of",
    "prompt is too long",
    "exceeds the available context size",
    "input tokens exceed",
    "input length exceeds",
)
_UNSUPPORTED = ("does not support", "not supported", "unsupported")
_KEY = re.compile(r"\bsk-[A-Za-z0-9_-]{8,}|(?<=\bBearer )[^\s'\"]{8,}")
"""API keys by their format: for keys of other servers, and keys cut at the end of a message."""
_CUT = frozenset(
    {
        *("RemoteProtocolError", "ReadError", "IncompleteRead", "StreamError"),
        *("ClientResponseError", "ClientPayloadError", "ClientConnectionError"),
    }
)
_NOT_CONNECTED = frozenset({"ConnectTimeout", "ConnectionTimeoutError"})
_WRAPPERS = ("httpx2", *(provider.sdk for provider in PROVIDERS.values() if provider.sdk))


class CallFailed(Exception):
    """Raised by a provider that detects a failure itself."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


def failed(cause: str, message: str, error_type: str, wire: Wire | None = None) -> CallFailed:
    """The exception for a failure that a provider detects; `cause` is one of CAUSES."""
    wire = wire or Wire()
    return CallFailed(Failure(cause, message[:_MESSAGE_CHARS], error_type, wire.status, request_id=wire.request_id))


def classify(error: BaseException, wire: Wire) -> Failure:
    """The failure behind an exception, read from the response if it contains more than the exception."""
    if isinstance(error, CallFailed):
        return error.failure
    if wire.status is not None and wire.status >= 400:
        return from_status(wire, type(error).__name__)
    cause, origin = _cause_of(error, wire), _origin(error)
    return Failure(cause, _clip(origin) or cause, type(origin).__name__, wire.status, request_id=wire.request_id)


def without_keys(failure: Failure, key: str | None) -> Failure:
    """The failure without API keys: servers quote the key that they refuse, and failures are stored and shown."""

    def redacted(text: str) -> str:
        return _KEY.sub("[key]", text.replace(key, "[key]") if key else text)

    return replace(failure, message=redacted(failure.message), error_type=redacted(failure.error_type))


def from_status(wire: Wire, error_type: str) -> Failure:
    """The failure described by an HTTP error status and its body."""
    status, details = wire.status or 0, error_body(wire.json())
    text = details.get("message") or (wire.body or b"")[:_MESSAGE_CHARS].decode("utf-8", "replace")
    return Failure(
        cause=_cause_of_status(status, details, text, wire),
        message=f"HTTP {status}: {text}"[:_MESSAGE_CHARS],
        error_type=str(details.get("code") or details.get("type") or error_type),
        http_status=status,
        retry_after_s=retry_after_s(wire.headers),
        request_id=wire.request_id,
    )


def error_body(body: Any) -> dict[str, Any]:
    """{message, type, code} of an error body in the format of OpenAI or Ollama."""
    error = body.get("error") if isinstance(body, Mapping) else None
    if isinstance(error, Mapping):
        return {key: error.get(key) for key in ("message", "type", "code")} | {"message": str(error.get("message") or "")}
    return {"message": str(error)} if error else {}


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds that the server asks to wait, from either header, given as a number or as a date."""
    milliseconds = _number(headers.get("retry-after-ms"))
    if milliseconds is not None:
        return milliseconds / 1000
    header = headers.get("retry-after")
    seconds = _number(header)
    if seconds is not None or not header:
        return seconds
    try:
        return max(0.0, email.utils.parsedate_to_datetime(header).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None


def _cause_of_status(status: int, details: Mapping[str, Any], text: str, wire: Wire) -> str:
    description = f"{details.get('code')} {details.get('type')} {text}".lower()
    if status == 429:
        return _cause_of_429(description, wire)
    if status in (400, 413, 422, 500) and any(phrase in description for phrase in TOO_LONG):
        return "too_long"
    if status == 400 and any(phrase in description for phrase in _UNSUPPORTED):
        return "unsupported"
    return _BY_STATUS.get(status) or ("server_error" if status >= 500 else "bad_request")


def _cause_of_429(description: str, wire: Wire) -> str:
    if "insufficient_quota" in description or "exceeded your current quota" in description:
        return "quota"
    flex = (wire.sent or {}).get("service_tier") == "flex"
    return (
        "capacity" if "resource_unavailable" in description or "resource unavailable" in description or flex else "rate_limited"
    )


def _cause_of(error: BaseException, wire: Wire) -> str:
    chain = list(_chain(error))
    names = {base.__name__ for link in chain for base in type(link).__mro__}
    if names & _NOT_CONNECTED:
        return "connection"
    if any(isinstance(link, (asyncio.TimeoutError, TimeoutError)) or "Timeout" in type(link).__name__ for link in chain):
        return "timeout"
    if wire.status is not None:
        return "cut_stream" if names & _CUT else "bad_answer"
    if any(isinstance(link, OSError) or "Connect" in type(link).__name__ for link in chain) or names & _CUT:
        return "connection"
    return "bad_request"


def _origin(error: BaseException) -> BaseException:
    """The informative link of the chain: the SDK wraps it in messages like "Request timed out."."""
    return next((link for link in _chain(error) if type(link).__module__.split(".")[0] not in _WRAPPERS), error)


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _number(text: str | None) -> float | None:
    try:
        value = float(text or "")
    except ValueError:
        return None
    return value if math.isfinite(value) and value >= 0 else None


def _clip(error: BaseException) -> str:
    return str(error)[:_MESSAGE_CHARS]
