"""What the gateway refuses, what a retry costs, and what it hands on to the server."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any
from urllib.parse import urlsplit

import httpx
import openai
import pytest
from langchain_core.tools import tool
from langchain_ollama import ChatOllama
from langchain_openai import ChatOpenAI
from langgraph.graph import START, MessagesState, StateGraph
from langgraph.prebuilt import ToolNode, tools_condition

from harness.errors import InvalidInput
from harness.gateway import server as gateway_server
from harness.web.server import listen
from tests.fakes.process import FakeModels
from tests.fixtures.runs import PATIENCE_S, wait_for
from tests.gateway.served import Served, served

USER: Any = [{"role": "user", "content": "What moves AAPL?"}]
RATE = {
    "type": "function",
    "function": {
        "name": "PortfolioDecision",
        "description": "The decision",
        "parameters": {"type": "object", "properties": {"rating": {"enum": ["Buy", "Sell"]}}, "required": ["rating"]},
    },
}
FORCED: Any = {"type": "function", "function": {"name": "PortfolioDecision"}}


@pytest.fixture
def case(fake_models: FakeModels) -> Iterator[Served]:
    with served(fake_models.compatible(), {"quick-model": "quick"}) as running:
        yield running


@pytest.fixture
def client(case: Served) -> Iterator[openai.OpenAI]:
    with openai.OpenAI(base_url=case.v1, api_key="any", max_retries=2) as made:
        yield made


REFUSED: dict[str, tuple[str, dict[str, Any], int, str]] = {
    "several answers": ("chat/completions", {"messages": USER, "n": 4}, 400, "with n=1"),
    "log probabilities": ("chat/completions", {"messages": USER, "logprobs": True}, 400, "logprobs"),
    "an image": (
        "chat/completions",
        {"messages": [{"role": "user", "content": [{"type": "image_url", "image_url": {"url": "x"}}]}]},
        400,
        "image_url",
    ),
    "a built-in tool": ("responses", {"input": "Hi", "tools": [{"type": "web_search"}]}, 400, "turn it off in the program"),
    "an image of Responses": (
        "responses",
        {"input": [{"role": "user", "content": [{"type": "input_image", "image_url": "x"}]}]},
        400,
        "input_image",
    ),
    "a search of the web": ("chat/completions", {"messages": USER, "web_search_options": {}}, 400, "web_search_options"),
    "a hosted code tool": (
        "responses",
        {"input": "Hi", "tools": [{"type": "code_interpreter", "container": {"type": "auto"}}]},
        400,
        "code_interpreter",
    ),
    "an earlier response": ("responses", {"input": "Hi", "previous_response_id": "resp_1"}, 400, "previous_response_id"),
    "an unmapped model": ("chat/completions", {"messages": USER, "model": "gpt-99"}, 404, "pipeline.models"),
    "no messages": ("chat/completions", {"messages": []}, 400, "messages"),
    "an unmapped embedding": ("embeddings", {"input": "x"}, 404, "embedding"),
    "another API": ("messages", {"messages": USER}, 404, "Anthropic"),
    "images of Ollama": ("../api/chat", {"messages": [{"role": "user", "content": "x", "images": ["x"]}]}, 400, "images"),
    "a pull": ("../api/pull", {"model": "x"}, 404, "not carried"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_not_carried_is_refused_with_a_reason_and_no_second_try(what: str, case: Served) -> None:
    path, body, status, reason = REFUSED[what]
    answer = httpx.post(f"{case.v1}/{path}", json={"model": "quick-model", **body})
    assert (answer.status_code, answer.headers["x-should-retry"]) == (status, "false")
    assert reason in answer.text
    assert not case.admission.calls


def test_only_the_token_and_a_local_host_name_open_the_gateway(case: Served, fake_models: FakeModels) -> None:
    token = case.root.rpartition("/")[2]
    request = {"model": "quick-model", "messages": USER}
    assert httpx.post(f"{case.v1}/chat/completions".replace(token, "x" * 43), json=request).status_code == 401
    with served(fake_models.compatible()) as other:
        of_another = other.root.rpartition("/")[2]
        refused = httpx.post(f"{case.v1}/chat/completions".replace(token, of_another), json=request)
    assert (refused.status_code, "whole address" in refused.text) == (401, True), "the token of another case"
    foreign = httpx.post(f"{case.v1}/chat/completions", json=request, headers={"host": "evil.example"})
    assert foreign.status_code == 403
    assert "access-control-allow-origin" not in foreign.headers
    assert httpx.post(f"{case.v1}/chat/completions", content=b"x" * (17 << 20)).status_code == 413
    assert httpx.post(f"{case.v1}/chat/completions", content=b"{").status_code == 400
    assert not case.admission.calls


def test_an_address_works_with_and_without_v1_and_lists_the_programs_models(case: Served) -> None:
    for root in (case.root, case.v1, f"{case.v1}/v1"):
        answer = httpx.post(f"{root}/chat/completions", json={"model": "quick-model", "messages": USER})
        assert answer.json()["model"] == "quick-model"
    assert [model["id"] for model in httpx.get(f"{case.v1}/models").json()["data"]] == ["quick-model"]
    assert httpx.get(f"{case.root}/api/tags").json()["models"][0]["name"] == "quick-model"
    assert httpx.get(case.root).text == "Ollama is running"
    assert httpx.post(f"{case.root}/api/show", json={"model": "quick-model"}).json()["capabilities"] == ["completion", "tools"]


def test_a_retry_after_a_timeout_waits_for_the_answer_that_is_paid_for(fake_models: FakeModels, case: Served) -> None:
    fake_models.control(defaults={"latency_s": 1.5})
    with openai.OpenAI(base_url=case.v1, api_key="any", max_retries=4, timeout=0.7) as impatient:
        answer = impatient.chat.completions.create(model="quick-model", messages=USER)
    assert answer.choices[0].message.content
    assert fake_models.ledger()["calls"] == 1


@contextmanager
def posted(url: str, request: dict[str, Any]) -> Iterator[socket.socket]:
    """A connection that has sent a request, and hangs up at the end of the block."""
    address, body = urlsplit(url), json.dumps(request)
    head = f"POST {address.path} HTTP/1.1\r\nhost: {address.netloc}\r\ncontent-type: application/json\r\n"
    with socket.create_connection((address.hostname or "", address.port or 0)) as connection:
        connection.settimeout(PATIENCE_S)
        connection.sendall(f"{head}content-length: {len(body)}\r\n\r\n{body}".encode())
        yield connection


@pytest.mark.parametrize("length", [2_000, 3_000_000])
@pytest.mark.parametrize(
    ("path", "more"),
    [
        ("v1/chat/completions", {}),
        ("v1/chat/completions", {"stream": True}),
        ("v1/responses", {"stream": True}),
        ("api/chat", {"stream": True}),
    ],
)
def test_an_answer_whose_client_hangs_up_while_it_is_sent_goes_to_the_next_equal_request(
    path: str,
    more: dict[str, Any],
    length: int,
    fake_models: FakeModels,
    case: Served,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Of a stream that began before its answer was there, only a loss before the last piece can be noticed.
    monkeypatch.setattr(gateway_server, "FIRST_SIGN_S", 600.0)
    text = "It rises. " * (length // 10)
    fake_models.rule(text=text)
    url = f"{case.root}/{path}"
    request = {"model": "quick-model", "input" if "responses" in path else "messages": USER, **more}
    with posted(url, request) as hasty:
        assert hasty.recv(20).startswith(b"HTTP/1.1 200 OK"), "the answer has begun to arrive"
    (exchange,) = case.conversation.exchanges
    wait_for(lambda: not (exchange.waiters or exchange.deliveries), "the gateway to notice that the answer was not read")
    again = httpx.post(url, json=request, timeout=PATIENCE_S)
    assert again.status_code == 200
    assert again.text.count("It rises.") >= length // 10
    assert fake_models.ledger()["calls"] == len(case.conversation.exchanges) == 1
    (call,) = case.admission.calls
    assert call.answer is not None
    assert call.answer.text == text
    assert not case.conversation.failures
    assert not caplog.records, "a client that hangs up is no fault of the gateway"
    assert httpx.post(url, json=request, timeout=PATIENCE_S).status_code == 200
    assert fake_models.ledger()["calls"] == 2, "an answer that was read is not given again"


@pytest.mark.parametrize(("is_stream", "first_sign_s"), [(False, 600.0), (True, 600.0), (True, 0.05)])
def test_an_official_client_that_closes_after_it_has_read_its_answer_has_got_it(
    is_stream: bool, first_sign_s: float, fake_models: FakeModels, case: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(gateway_server, "FIRST_SIGN_S", first_sign_s)
    fake_models.control(defaults={"latency_s": 0.5}, rules=[{"do": {"text": "It rises. " * 30_000}}])
    for calls in (1, 2):
        with openai.OpenAI(base_url=case.v1, api_key="any") as client:
            answer: Any = client.chat.completions.create(model="quick-model", messages=USER, stream=is_stream)
            assert not is_stream or len(list(answer)) > 1
        assert fake_models.ledger()["calls"] == calls, "equal requests are samples"


def test_the_next_equal_request_gets_the_answer_that_nobody_waited_for(fake_models: FakeModels, case: Served) -> None:
    fake_models.control(defaults={"latency_s": 2.0})
    request = {"model": "quick-model", "messages": USER}
    with posted(f"{case.v1}/chat/completions", request):
        wait_for(lambda: case.conversation.exchanges, "the request at the gateway")
    wait_for(lambda: case.conversation.exchanges[0].waiters == 0, "the gateway to notice that the client hung up")
    assert httpx.post(f"{case.v1}/chat/completions", json=request, timeout=PATIENCE_S).status_code == 200
    assert fake_models.ledger()["calls"] == 1
    assert httpx.post(f"{case.v1}/chat/completions", json=request, timeout=PATIENCE_S).status_code == 200
    assert fake_models.ledger()["calls"] == 2, "a delivered answer is not given again: equal requests are samples"


def test_a_stream_that_its_client_cuts_after_it_has_begun_is_not_paid_again(
    fake_models: FakeModels, case: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    fake_models.control(defaults={"latency_s": 2.0})
    monkeypatch.setattr(gateway_server, "FIRST_SIGN_S", 0.1)
    request = {"model": "quick-model", "messages": USER, "stream": True}
    with httpx.stream("POST", f"{case.v1}/chat/completions", json=request, timeout=PATIENCE_S) as begun:
        assert next(begun.iter_raw()) == b": waiting\n\n"
    wait_for(lambda: case.conversation.exchanges[0].waiters == 0, "the gateway to notice that the client hung up")
    again = httpx.post(f"{case.v1}/chat/completions", json=request, timeout=PATIENCE_S)
    assert again.text.endswith("data: [DONE]\n\n")
    assert fake_models.ledger()["calls"] == 1


def test_equal_requests_side_by_side_are_samples(case: Served, fake_models: FakeModels) -> None:
    fake_models.control(defaults={"latency_s": 0.5})
    request = {"model": "quick-model", "messages": USER}
    with ThreadPoolExecutor(3) as pool:
        answers = list(
            pool.map(lambda _: httpx.post(f"{case.v1}/chat/completions", json=request, timeout=PATIENCE_S), range(3))
        )
    assert {answer.status_code for answer in answers} == {200}
    assert fake_models.ledger()["calls"] == 3


def test_a_failed_call_is_noted_and_not_tried_again(case: Served, client: openai.OpenAI, fake_models: FakeModels) -> None:
    fake_models.rule(status=400, error="no such thing")
    with pytest.raises(openai.BadRequestError, match="no such thing"):
        client.chat.completions.create(model="quick-model", messages=USER)
    assert fake_models.ledger()["calls"] == 1
    ((role, message),) = case.conversation.failures
    assert (role, "no such thing" in message) == ("other", True)


def test_embeddings_of_a_mapped_model_are_passed_through_and_recorded(fake_models: FakeModels) -> None:
    mapped = {"text-embedding-3-small": "vectors", "*": "quick"}
    with served(fake_models.compatible(), mapped) as case, openai.OpenAI(base_url=case.v1, api_key="any") as client:
        answer = client.embeddings.create(model="text-embedding-3-small", input=["AAPL rose", "MSFT"])
        assert [round(entry.embedding[0], 4) for entry in answer.data] == [0.09, 0.04]
        native = httpx.post(f"{case.root}/api/embed", json={"model": "text-embedding-3-small", "input": "MSFT"})
        assert native.json()["embeddings"] == [[0.04, 0.077]]
        (first, _) = case.admission.calls
        assert (first.site.role, first.answer and first.answer.usage.input_tokens) == ("embeddings", 7)
        with pytest.raises(openai.NotFoundError, match=r"pipeline\.models"):
            client.embeddings.create(model="other", input="x")
        assert not case.conversation.failures, "a program that goes on without vectors may count"


def test_what_was_asked_and_not_sent_is_recorded(case: Served, client: openai.OpenAI) -> None:
    asked: dict[str, Any] = {"stop": ["\n"], "temperature": 0.3, "reasoning_effort": "low", "max_tokens": 50}
    client.chat.completions.create(model="quick-model", messages=USER, **asked)
    (call,) = case.admission.calls
    assert call.not_sent == {"stop": ["\n"], "reasoning_effort": "low"}
    assert (call.params["temperature"], call.params["max_tokens"]) == (0.3, 50)
    assert call.request.program["model"] == "quick-model"


def test_a_forced_tool_of_ollama_is_asked_for_as_json_and_comes_back_as_a_call(fake_models: FakeModels) -> None:
    with served(fake_models.ollama(), name="qwen3:8b", num_ctx=8192) as case:
        with openai.OpenAI(base_url=case.v1, api_key="any") as client:
            request: dict[str, Any] = {"messages": USER, "tools": [RATE], "tool_choice": FORCED}
            message = client.chat.completions.create(model="any", **request).choices[0].message
            (call,) = message.tool_calls or []
            assert json.loads(call.function.arguments)["rating"] in ("Buy", "Sell")
            cut = client.chat.completions.create(model="any", max_tokens=1, **request).choices[0]
        assert (cut.finish_reason, cut.message.tool_calls) == ("length", None), "a cut answer is never a call"
        assert "forced tool PortfolioDecision" in case.admission.calls[0].request.program["changed"][0]


def test_an_answer_does_not_wait_for_the_client_s_acknowledgement() -> None:
    with listen("127.0.0.1", 0) as listener:
        assert listener.proto == socket.IPPROTO_TCP, "asyncio would leave Nagle's algorithm on, 40 ms in each answer"
        with pytest.raises(InvalidInput, match="cannot listen"):
            listen("127.0.0.1", listener.getsockname()[1])


def test_a_long_wait_is_bridged(fake_models: FakeModels, case: Served) -> None:
    fake_models.control(defaults={"latency_s": 6.0})
    with openai.OpenAI(base_url=case.v1, api_key="any", max_retries=0, timeout=4.0) as client:
        answer = client.chat.completions.create(model="quick-model", messages=USER)
    assert answer.choices[0].message.content, "blanks before the body keep a client past its read timeout"


@tool
def get_prices(ticker: str) -> str:
    """Closing prices."""
    return f"{ticker}: 101.25"


@pytest.mark.parametrize("kind", ["chat", "responses", "ollama"])
def test_langgraph_agents_run_through_the_gateway(kind: str, fake_models: FakeModels) -> None:
    server, name = (fake_models.ollama(), "qwen3:8b") if kind == "ollama" else (fake_models.compatible(), "tiny")
    calls = [{"name": "get_prices", "arguments": '{"ticker": "AAPL"}'}]
    fake_models.control(rules=[{"contains": "101.25", "do": {"text": "It rises."}}, {"do": {"tool_calls": calls}}])
    with served(server, name=name, num_ctx=8192) as case:
        model: Any = (
            ChatOllama(model="any", base_url=case.root)
            if kind == "ollama"
            else ChatOpenAI(model="any", base_url=case.v1, api_key="k", use_responses_api=kind == "responses")  # type: ignore[arg-type]
        )
        bound = model.bind_tools([get_prices])
        graph = StateGraph(MessagesState)
        graph.add_node("agent", lambda state: {"messages": [bound.invoke(state["messages"])]})
        graph.add_node("tools", ToolNode([get_prices]))
        graph.add_edge(START, "agent")
        graph.add_conditional_edges("agent", tools_condition)
        graph.add_edge("tools", "agent")
        question: Any = {"messages": [("user", "What moves AAPL?")]}
        said = graph.compile().invoke(question)["messages"]
        (model._client if kind == "ollama" else model.root_client).close()
        assert [message.type for message in said] == ["human", "ai", "tool", "ai"]
        assert said[-1].text == "It rises."
        (result,) = case.admission.calls[1].request.program["results"]
        assert (result["tool"], result["arguments"]) == ("get_prices", '{"ticker": "AAPL"}')
