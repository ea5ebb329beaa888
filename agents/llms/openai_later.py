"""OpenAI's batches and background responses: requests that are handed over now and answered hours later.

Synchronous: a single thread of the runner waits for them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from agents.errors import ModelCallError
from agents.llms.failures import CallFailed, classify, from_status, without_keys
from agents.llms.hosted import CONNECT_TIMEOUT_S
from agents.llms.openai import base_url, is_loopback
from agents.llms.openai_bodies import chat_answer, responses_answer
from agents.llms.wire import Wire
from agents.types import Answer, Failure, Server

T = TypeVar("T")
REQUEST_TIMEOUT_S = 120.0
TRANSFER_TIMEOUT_S = 900.0
"""A file of 200 MB over a slow line."""
MOST_REQUESTS = 50_000
MOST_BYTES = 200_000_000
"""Limits of one batch file."""
_CLOCK_MARGIN_S = 600.0
"""By which the clocks of a provider's machines may differ."""
_ENDED = frozenset({"failed", "completed", "expired", "cancelled"})


@dataclass(frozen=True)
class UploadedFile:
    """A file of requests at its provider."""

    file_id: str
    created_at: float
    """Unix time by the provider's clock."""


@dataclass(frozen=True)
class BatchState:
    """A batch as its provider reports it."""

    batch_id: str
    status: str
    """validating | failed | in_progress | finalizing | completed | expired | cancelling | cancelled."""
    completed: int = 0
    failed: int = 0
    output_file: str | None = None
    error_file: str | None = None
    refusals: tuple[tuple[int | None, str], ...] = ()
    """(line from 1, message) of a failed validation."""
    total_tokens: int | None = None

    @property
    def has_ended(self) -> bool:
        return self.status in _ENDED


@dataclass(frozen=True)
class LaterState:
    """A background response as its provider reports it."""

    response_id: str
    status: str
    """queued | in_progress | completed | failed | cancelled | incomplete."""
    body: bytes = field(default=b"", repr=False)

    @property
    def has_ended(self) -> bool:
        return self.status not in ("queued", "in_progress")


class OpenAILater:
    """Files, batches and background responses of one server. Every method raises ModelCallError."""

    def __init__(self, server: Server) -> None:
        import httpx2
        from openai import DefaultHttpxClient, OpenAI

        url = base_url(server)
        is_local = is_loopback(url)
        transport = DefaultHttpxClient(trust_env=not is_local, verify=not (is_local and url.startswith("http:")))
        self._key = server.api_key
        self._client = OpenAI(
            base_url=url,
            api_key=server.api_key or "none",
            max_retries=0,
            timeout=httpx2.Timeout(REQUEST_TIMEOUT_S, connect=CONNECT_TIMEOUT_S),
            http_client=transport,
        )
        self._slow = self._client.with_options(timeout=httpx2.Timeout(TRANSFER_TIMEOUT_S, connect=CONNECT_TIMEOUT_S))

    def upload(self, path: Path, name: str) -> UploadedFile:
        """Upload a file of requests."""
        with path.open("rb") as stream:
            uploaded = self._ask(lambda: self._slow.files.create(file=(name, stream), purpose="batch"))
        return UploadedFile(str(uploaded.id), float(uploaded.created_at or 0))

    def create_batch(self, file_id: str, endpoint: Any, metadata: Mapping[str, str]) -> BatchState:
        return _batch_state(
            self._ask(
                lambda: self._client.batches.create(
                    input_file_id=file_id, endpoint=endpoint, completion_window="24h", metadata=dict(metadata)
                )
            )
        )

    def find_batch(self, key: str, value: str, created_after: float) -> BatchState | None:
        """The batch whose metadata has this value, among those created after a moment by the provider's clock (0: all)."""
        for batch in self._recent_batches(created_after):
            if (batch.metadata or {}).get(key) == value:
                return _batch_state(batch)
        return None

    def _recent_batches(self, created_after: float) -> Iterator[Any]:
        page = self._ask(lambda: self._client.batches.list(limit=100))
        while True:
            for batch in page.data:
                # Newest first.
                if batch.created_at < created_after - _CLOCK_MARGIN_S:
                    return
                yield batch
            if not page.has_next_page():
                return
            page = self._ask(page.get_next_page)

    def batch(self, batch_id: str) -> BatchState:
        return _batch_state(self._ask(lambda: self._client.batches.retrieve(batch_id)))

    def cancel_batch(self, batch_id: str) -> BatchState:
        return _batch_state(self._ask(lambda: self._client.batches.cancel(batch_id)))

    def download(self, file_id: str, target: Path) -> None:
        def stream() -> None:
            with self._slow.files.with_streaming_response.content(file_id) as response:
                response.stream_to_file(target)

        self._ask(stream)

    def delete_file(self, file_id: str) -> None:
        self._ask(lambda: self._client.files.delete(file_id))

    def start(self, body: Mapping[str, Any]) -> LaterState:
        """Start a background response."""
        return self._response("POST", "/responses", dict(body))

    def response(self, response_id: str) -> LaterState:
        return self._response("GET", f"/responses/{response_id}")

    def cancel_response(self, response_id: str) -> LaterState:
        return self._response("POST", f"/responses/{response_id}/cancel", {})

    def delete_response(self, response_id: str) -> None:
        self._ask(lambda: self._client.responses.delete(response_id))

    def close(self) -> None:
        self._client.close()

    def _response(self, method: str, path: str, body: Mapping[str, Any] | None = None) -> LaterState:
        import httpx2

        def send() -> Any:
            if method == "GET":
                return self._client.get(path, cast_to=httpx2.Response)
            return self._client.post(path, cast_to=httpx2.Response, body=body)

        raw = self._ask(send).content
        plain = Wire(body=raw).json()
        if not isinstance(plain, Mapping) or not plain.get("id"):
            raise ModelCallError(f"{path}: the answer is no response: {raw[:200]!r}", cause="bad_answer", http_status=200)
        return LaterState(str(plain["id"]), str(plain.get("status") or "unknown"), raw)

    def _ask(self, send: Callable[[], T]) -> T:
        try:
            return send()
        except Exception as error:
            response = getattr(error, "response", None)
            wire = (
                Wire()
                if response is None
                else Wire(status=response.status_code, headers=response.headers, body=_content(response))
            )
            failure = without_keys(classify(error, wire), self._key)
            raise ModelCallError(
                failure.message,
                cause=failure.cause,
                http_status=failure.http_status,
                retry_after_s=failure.retry_after_s,
                request_id=failure.request_id,
            ) from error


def connect(server: Server) -> OpenAILater:
    return OpenAILater(server)


def read_deferred(path: str, status: int, body: bytes) -> Answer | Failure:
    """The answer, or the failure, in the HTTP response of one deferred request."""
    wire = Wire(status=status, body=body)
    if status >= 400:
        return from_status(wire, "DeferredFailed")
    try:
        return responses_answer(wire) if path.endswith("/responses") else chat_answer(wire)
    except CallFailed as failed:
        return failed.failure


def _content(response: Any) -> bytes:
    try:
        return bytes(response.content)
    except Exception:  # noqa: BLE001 - a streamed body that was not read
        return b""


def _batch_state(batch: Any) -> BatchState:
    counts, usage, errors = batch.request_counts, batch.usage, batch.errors
    return BatchState(
        batch_id=batch.id,
        status=batch.status,
        completed=counts.completed if counts else 0,
        failed=counts.failed if counts else 0,
        output_file=batch.output_file_id,
        error_file=batch.error_file_id,
        refusals=tuple((error.line, str(error.message or error.code)) for error in (errors.data if errors else None) or ()),
        total_tokens=usage.total_tokens if usage else None,
    )
