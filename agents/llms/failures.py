"""Why a request brought no answer: every exception and error body becomes one of the known causes."""

from __future__ import annotations

import asyncio
import email.utils
import math
import re
import time
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from agents.contract.answer import Failure
from agents.llms.wire import Wire
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
"""Keys by their look, for one that the end of a message cuts, or one of another server."""
_CUT = ("RemoteProtocolError", "ReadError", "IncompleteRead", "StreamError", "ClientResponseError")
_WRAPPERS = ("httpx2", *(provider.sdk for provider in PROVIDERS.values() if provider.sdk))


class CallFailed(Exception):
    """A provider found out by itself that there is no answer."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


def failed(cause: str, message: str, error_type: str, wire: Wire | None = None) -> CallFailed:
    """What a provider raises for an answer that is none; the cause is one of CAUSES."""
    wire = wire or Wire()
    return CallFailed(Failure(cause, message[:_MESSAGE_CHARS], error_type, wire.status, request_id=wire.request_id))


def classify(error: BaseException, wire: Wire) -> Failure:
    """The failure behind an exception, read from the wire where it says more than the exception."""
    if isinstance(error, CallFailed):
        return error.failure
    if wire.status is not None and wire.status >= 400:
        return from_status(wire, type(error).__name__)
    cause, told = _cause_of(error, wire), _told_by(error)
    return Failure(cause, _clip(told) or cause, type(told).__name__, wire.status, request_id=wire.request_id)


def without_keys(failure: Failure, key: str | None) -> Failure:
    """The failure without API keys: servers like to quote the key that they refuse, and failures are kept and shown."""

    def clean(text: str) -> str:
        return _KEY.sub("[key]", text.replace(key, "[key]") if key else text)

    return replace(failure, message=clean(failure.message), error_type=clean(failure.error_type))


def from_status(wire: Wire, error_type: str) -> Failure:
    """The failure that an HTTP error status and its body tell."""
    status, told = wire.status or 0, error_body(wire.json())
    text = told.get("message") or (wire.body or b"")[:_MESSAGE_CHARS].decode("utf-8", "replace")
    return Failure(
        cause=_from_status(status, told, text, wire),
        message=f"HTTP {status}: {text}"[:_MESSAGE_CHARS],
        error_type=str(told.get("code") or told.get("type") or error_type),
        http_status=status,
        retry_after_s=retry_after_s(wire.headers),
        request_id=wire.request_id,
    )


def error_body(body: Any) -> dict[str, Any]:
    """{message, type, code} of an error body, in the spelling of OpenAI or of Ollama."""
    error = body.get("error") if isinstance(body, Mapping) else None
    if isinstance(error, Mapping):
        return {key: error.get(key) for key in ("message", "type", "code")} | {"message": str(error.get("message") or "")}
    return {"message": str(error)} if error else {}


def retry_after_s(headers: Mapping[str, str]) -> float | None:
    """Seconds that the server asks to wait, from either header, as a number or as a date."""
    millis = _number(headers.get("retry-after-ms"))
    if millis is not None:
        return millis / 1000
    told = headers.get("retry-after")
    seconds = _number(told)
    if seconds is not None or not told:
        return seconds
    try:
        return max(0.0, email.utils.parsedate_to_datetime(told).timestamp() - time.time())
    except (ValueError, TypeError, OverflowError):
        return None


def _from_status(status: int, told: Mapping[str, Any], text: str, wire: Wire) -> str:
    said = f"{told.get('code')} {told.get('type')} {text}".lower()
    if status == 429:
        return _of_429(said, wire)
    if status in (400, 413, 422, 500) and any(phrase in said for phrase in TOO_LONG):
        return "too_long"
    if status == 400 and any(phrase in said for phrase in _UNSUPPORTED):
        return "unsupported"
    return _BY_STATUS.get(status) or ("server_error" if status >= 500 else "bad_request")


def _of_429(said: str, wire: Wire) -> str:
    if "insufficient_quota" in said or "exceeded your current quota" in said:
        return "quota"
    flex = (wire.sent or {}).get("service_tier") == "flex"
    return "capacity" if "resource_unavailable" in said or "resource unavailable" in said or flex else "rate_limited"


def _cause_of(error: BaseException, wire: Wire) -> str:
    chain = list(_chain(error))
    names = [type(one).__name__ for one in chain]
    if "ConnectTimeout" in names:
        return "connection"
    if any(isinstance(one, (asyncio.TimeoutError, TimeoutError)) or "Timeout" in type(one).__name__ for one in chain):
        return "timeout"
    if wire.status is not None:
        return "cut_stream" if any(name in _CUT for name in names) else "bad_answer"
    if any(isinstance(one, OSError) or "Connect" in type(one).__name__ for one in chain) or any(n in _CUT for n in names):
        return "connection"
    return "bad_request"


def _told_by(error: BaseException) -> BaseException:
    """The link that says what happened: the SDK's "Request timed out." and its wrappers around a refused connection do not."""
    return next((one for one in _chain(error) if type(one).__module__.split(".")[0] not in _WRAPPERS), error)


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
