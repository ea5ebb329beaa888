"""Traces of ended cells by OpenTelemetry's conventions for generative AI: a span per cell, role and call.

They are built from the rows of an ended cell, so that deciding never waits for them; a collector that is away costs spans only.
"""

from __future__ import annotations

import json
import logging
import os
import threading
from collections.abc import Iterator, Mapping, Sequence
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any

from harness.storage.rows import Row

if TYPE_CHECKING:
    from opentelemetry.sdk.trace import SpanProcessor
    from opentelemetry.trace import Span

_log = logging.getLogger(__name__)
ENDPOINTS = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT")
PROMPTS = "OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT"
_QUEUE = 8_192
"""Spans that wait for the collector; further ones are dropped."""
_EXPORT_S = 5.0
_CLOSE_S = 3.0
_LONGEST_TEXT = 32_000


def open_traces() -> Traces | None:
    """Traces of this process if the environment names a collector and the extra is installed."""
    if not any(os.environ.get(name) for name in ENDPOINTS):
        return None
    if find_spec("opentelemetry") is None or find_spec("opentelemetry.exporter") is None:
        _log.warning("no traces are sent: pip install 'tradingagents-harness[traces]'")
        return None
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.trace.export import BatchSpanProcessor

    exporter = OTLPSpanExporter(timeout=_EXPORT_S)
    has_prompts = os.environ.get(PROMPTS, "").lower() in ("true", "1", "span_only", "span_and_event")
    return Traces(BatchSpanProcessor(exporter, max_queue_size=_QUEUE, max_export_batch_size=512), has_prompts=has_prompts)


class Traces:
    """Sends the spans of ended cells from a thread of its own."""

    def __init__(self, processor: SpanProcessor, *, has_prompts: bool = False) -> None:
        """`has_prompts`: prompts and answers are sent as well."""
        from opentelemetry.sdk.resources import Resource
        from opentelemetry.sdk.trace import TracerProvider

        name = os.environ.get("OTEL_SERVICE_NAME", "tradingagents-harness")
        self._provider = TracerProvider(resource=Resource.create({"service.name": name}), shutdown_on_exit=False)
        self._provider.add_span_processor(processor)
        self._tracer = self._provider.get_tracer("harness")
        self._has_prompts = has_prompts

    def ended(self, experiment: str, receipt: Row, calls: Sequence[Row], messages: Sequence[Row]) -> None:
        """Send the spans of a cell; a fault here must not touch the cell, which has its receipt."""
        try:
            self._send(experiment, receipt, calls, {row["message_id"]: row for row in messages})
        except Exception:  # noqa: BLE001 - see above
            _log.exception("no trace of cell %s", receipt["cell_id"])

    def close(self) -> None:
        """Send what waits, for some seconds at most."""
        closing = threading.Thread(target=self._provider.shutdown, name="traces", daemon=True)
        closing.start()
        closing.join(_CLOSE_S)

    def _send(self, experiment: str, receipt: Row, calls: Sequence[Row], messages: Mapping[str, Row]) -> None:
        timed = [call for call in calls if call["started_at"] is not None]
        first = min([_ns(receipt["started_at"]), *map(_start, timed)])
        cell = self._open(f"decide {receipt['case_id']}", None, first, _of_cell(experiment, receipt))
        for role, role_calls in _by_role(timed):
            attributes = {"gen_ai.operation.name": "invoke_agent", "gen_ai.agent.name": role}
            span = self._open(f"invoke_agent {role}", cell, min(map(_start, role_calls)), attributes)
            for call in role_calls:
                self._send_call(span, call, messages)
            span.end(max(map(_end, role_calls)))
        _mark(cell, receipt["error_type"], receipt["error"])
        cell.end(max([_ns(receipt["finished_at"]), *map(_end, timed)]))

    def _send_call(self, role: Span, call: Row, messages: Mapping[str, Row]) -> None:
        from opentelemetry.trace import SpanKind

        attributes = _of_call(call) | (_texts(call, messages) if self._has_prompts else {})
        span = self._open(f"chat {call['model_requested']}", role, _start(call), attributes, kind=SpanKind.CLIENT)
        _mark(span, call["error_type"], call["error"])
        span.end(_end(call))

    def _open(self, name: str, parent: Span | None, at: int, attributes: Mapping[str, Any], **options: Any) -> Span:
        from opentelemetry.context import Context
        from opentelemetry.trace import set_span_in_context

        known = {key: value for key, value in attributes.items() if value is not None}
        context = Context() if parent is None else set_span_in_context(parent)
        return self._tracer.start_span(name, context=context, start_time=at, attributes=known, **options)


def _of_cell(experiment: str, receipt: Row) -> dict[str, Any]:
    names = ("run_id", "cell_id", "case_id", "arm", "status", "decision_status", "rating", "cost_usd", "llm_calls")
    return {"gen_ai.workflow.name": experiment, **{f"harness.{name}": receipt.get(name) for name in names}}


def _of_call(call: Row) -> dict[str, Any]:
    finish = call["finish_reason"]
    return {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": call["provider"],
        "gen_ai.request.model": call["model_requested"],
        "gen_ai.response.model": call["model_returned"],
        "gen_ai.response.finish_reasons": [finish] if finish else None,
        "gen_ai.response.time_to_first_chunk": call["ttft_s"],
        "gen_ai.usage.input_tokens": call["input_tokens"],
        "gen_ai.usage.cache_read.input_tokens": call["cached_tokens"],
        "gen_ai.usage.cache_creation.input_tokens": call["cache_write_tokens"],
        "gen_ai.usage.output_tokens": call["output_tokens"],
        "gen_ai.usage.reasoning.output_tokens": call["reasoning_tokens"],
        **{f"harness.{name}": call.get(name) for name in ("call_id", "server", "kind", "outcome", "queued_s", "cost_usd")},
    }


def _texts(call: Row, messages: Mapping[str, Row]) -> dict[str, Any]:
    parts = [messages[message_id] for message_id in call["message_ids"] or () if message_id in messages]
    prompt = [_message(part["role"], part["text"]) for part in parts]
    answer = [_message("assistant", call["response"])] if call["response"] else []
    written = {"gen_ai.input.messages": prompt, "gen_ai.output.messages": answer}
    return {name: json.dumps(texts) for name, texts in written.items() if texts}


def _message(role: str, text: str) -> dict[str, Any]:
    return {"role": role, "parts": [{"type": "text", "content": text[:_LONGEST_TEXT]}]}


def _by_role(calls: Sequence[Row]) -> Iterator[tuple[str, list[Row]]]:
    by_role: dict[str, list[Row]] = {}
    for call in calls:
        by_role.setdefault(call["role"], []).append(call)
    yield from by_role.items()


def _mark(span: Span, error_type: str | None, error: str | None) -> None:
    from opentelemetry.trace import Status, StatusCode

    if error_type:
        span.set_attribute("error.type", error_type)
        span.set_status(Status(StatusCode.ERROR, error))


def _ns(at: Any) -> int:
    return int(at.timestamp() * 1e9)


def _start(call: Row) -> int:
    return _ns(call["started_at"])


def _end(call: Row) -> int:
    return _start(call) + int((call["duration_s"] or 0.0) * 1e9)
