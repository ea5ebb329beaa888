"""OpenTelemetry traces, sent to a collector of ours by OTLP over HTTP: a span per cell, role and call, and never a delay."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from tests.fixtures.runs import CALLS_PER_CELL, HOSTED, Lab

trace_service_pb2 = pytest.importorskip("opentelemetry.proto.collector.trace.v1.trace_service_pb2")


class Collector(ThreadingHTTPServer):
    """Keeps every span that it receives."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.spans: list[Any] = []
        self.refuses = threading.Event()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_address[1]}"

    def named(self, prefix: str) -> list[Any]:
        return [span for span in self.spans if span.name.startswith(prefix)]


class _Handler(BaseHTTPRequestHandler):
    server: Collector

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["content-length"]))
        if self.server.refuses.is_set():
            self.send_response(503)
            self.end_headers()
            return
        assert self.path == "/v1/traces"
        request = trace_service_pb2.ExportTraceServiceRequest.FromString(body)
        for resource in request.resource_spans:
            self.server.spans += [span for scope in resource.scope_spans for span in scope.spans]
        self.send_response(200)
        self.end_headers()

    def log_message(self, *_: Any) -> None:
        return


@pytest.fixture
def collector() -> Iterator[Collector]:
    server = Collector()
    thread = threading.Thread(target=server.serve_forever, daemon=True)
    thread.start()
    yield server
    server.shutdown()
    server.server_close()
    thread.join()


def attributes(span: Any) -> dict[str, Any]:
    values = {pair.key: pair.value for pair in span.attributes}
    return {key: getattr(value, value.WhichOneof("value")) for key, value in values.items()}


@pytest.fixture
def traced(lab: Lab, collector: Collector) -> Lab:
    lab.environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}
    lab.experiment()
    return lab


def test_a_run_sends_a_span_per_cell_role_and_call(traced: Lab, collector: Collector) -> None:
    traced.run("--yes")

    assert not any(key.endswith(".messages") for span in collector.spans for key in attributes(span)), "no text unless allowed"
    cells, calls = traced.rows("cells"), traced.rows("calls")
    sent = {attributes(span)["harness.cell_id"]: span for span in collector.named("decide ")}
    assert set(sent) == {cell["cell_id"] for cell in cells}
    assert len(collector.named("chat ")) == len(calls) == 2 * CALLS_PER_CELL
    spans = {span.span_id: span for span in collector.spans}
    for span in collector.named("chat "):
        role = spans[span.parent_span_id]
        assert role.name.startswith("invoke_agent ")
        assert spans[role.parent_span_id].name.startswith("decide ")
        assert role.start_time_unix_nano <= span.start_time_unix_nano <= span.end_time_unix_nano <= role.end_time_unix_nano
    hosted = [attributes(span) for span in collector.named(f"chat {HOSTED}")]
    assert {each["gen_ai.provider.name"] for each in hosted} == {"openai"}
    assert sum(each["gen_ai.usage.input_tokens"] for each in hosted) == sum(
        call["input_tokens"] for call in calls if call["model_requested"] == HOSTED
    )


def test_prompts_and_answers_are_sent_if_that_is_allowed(traced: Lab, collector: Collector) -> None:
    traced.environment |= {"OTEL_INSTRUMENTATION_GENAI_CAPTURE_MESSAGE_CONTENT": "true"}
    traced.run("--yes", "--only", "arm=own")
    sent = [attributes(span) for span in collector.named("chat ")]
    answers = {json.loads(each["gen_ai.output.messages"])[0]["parts"][0]["content"] for each in sent}
    assert answers == {call["response"] for call in traced.rows("calls")}
    assert all(json.loads(each["gen_ai.input.messages"])[0]["role"] == "system" for each in sent)


@pytest.mark.parametrize("fault", ["refuses", "is gone"])
def test_a_collector_that_fails_costs_spans_and_nothing_else(traced: Lab, collector: Collector, fault: str) -> None:
    if fault == "refuses":
        collector.refuses.set()
    else:
        traced.environment = {"OTEL_EXPORTER_OTLP_ENDPOINT": "http://127.0.0.1:9"}

    traced.run("--yes")

    assert [cell["status"] for cell in traced.rows("cells")] == ["ok", "ok"]
    assert collector.spans == []
