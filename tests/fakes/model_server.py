"""A fake model server: one process on loopback that speaks OpenAI's two APIs and Ollama's, as scripted.

    python -m tests.fakes.model_server --port 0 [--latency-s 0.5]      prints {"url": ...} on its first line

POST /control takes {defaults, rules, ollama, api_key, later} (script.py, ollama_wire.py, openai_later.py), GET
/ledger[?full=1] tells the truth about every request, POST /reset forgets both.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from tests.fakes import marked_cache, native_wires, ollama_wire, openai_rules, openai_wire
from tests.fakes.answers import prompt_hash, prompt_tokens
from tests.fakes.composing import Composed, PrefixCache, compose
from tests.fakes.marked_cache import MarkedCache, is_marked
from tests.fakes.openai_later import LaterServer
from tests.fakes.script import Behaviour, Script
from tests.fakes.truth import Heard, Truth

Body = Mapping[str, Any]


@dataclass(frozen=True)
class _Unsent:
    """Stands for the HTTP request of a request that came in a file."""

    path: str
    headers: Mapping[str, str] = field(default_factory=lambda: {"authorization": "as the batch"})


class FakeServer:
    """The routes, and what they share."""

    def __init__(self, latency_s: float = 0.0) -> None:
        self._latency_s = latency_s
        self._api_key: str | None = None
        self.listed: list[str] = []
        self.shutdown_dates: dict[str, Any] | None = {}
        self.n_ctx: int | None = None
        self.owned_by = "fake"
        self._forget()

    def app(self) -> web.Application:
        app = web.Application(client_max_size=1 << 28)
        app.add_routes(
            [
                web.post("/v1/chat/completions", self.chat),
                web.post("/v1/responses", self.responses),
                web.post("/v1/embeddings", self.embeddings),
                web.get("/v1/models", self.models),
                web.post("/v1/messages", self.anthropic),
                web.post("/v1beta/models/{call}", self.google),
                web.get("/v1/models/{model}", self.native_model),
                web.get("/v1beta/models/{model}", self.native_model),
                web.post("/api/chat", self.ollama_chat),
                web.post("/api/generate", self.ollama_generate),
                web.post("/api/show", self.ollama_show),
                web.get("/api/tags", self.ollama_tags),
                web.get("/api/ps", self.ollama_running),
                web.get("/api/version", self.ollama_version),
                web.get("/", self.ollama_root),
                web.get("/version", self.vllm_version),
                web.post("/control", self.control),
                web.get("/ledger", self.ledger),
                web.post("/reset", self.reset),
                *self._later_routes(),
            ]
        )
        return app

    def _later_routes(self) -> list[web.RouteDef]:
        """Routes to the current LaterServer, which `reset` replaces."""

        def handler(name: str) -> Any:
            return lambda request: getattr(self.later, name)(request)

        return [web.route(route.method, route.path, handler(route.handler.__name__)) for route in self.later.routes()]

    async def chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        wire = (openai_wire.chat_schema, openai_wire.chat_body, openai_wire.chat_events)
        cap = body.get("max_completion_tokens") or body.get("max_tokens")
        return await self._openai(request, body, openai_wire.chat_messages(body), cap, *wire)

    async def responses(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        if body.get("background") and self._allowed(request) and openai_rules.complaint(body) is None:
            return await self.later.start_response(request, body)
        wire = (openai_wire.responses_schema, openai_wire.responses_body, openai_wire.responses_events)
        messages = openai_wire.responses_messages(body)
        return await self._openai(request, body, messages, body.get("max_output_tokens"), *wire)

    async def embeddings(self, request: web.Request) -> web.Response:
        """One vector per text: its length, and its first letter."""
        body = await request.json()
        heard = self.truth.begin(Heard(request.path, body["model"], prompt_hash([("user", text) for text in body["input"]])))
        heard.outcome, heard.status = "answered", 200
        self.truth.end(heard)
        vectors = [[len(text) / 100, ord(text[:1] or " ") / 1000] for text in body["input"]]
        data = [{"object": "embedding", "index": place, "embedding": vector} for place, vector in enumerate(vectors)]
        usage = {"prompt_tokens": 7, "total_tokens": 7}
        return web.json_response({"object": "list", "data": data, "model": body["model"], "usage": usage})

    async def anthropic(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        blocks = native_wires.blocks(body)
        async with self._heard(request, body, [(block.role, block.text) for block in blocks]) as (heard, behaviour):
            if (refused := await self._native_refusal(request, heard, behaviour, native_wires.complaint(body))) is not None:
                return refused
            composed = compose(
                behaviour, heard.prompt + body["model"], heard.input_tokens, 0, native_wires.schema(body), body["max_tokens"]
            )
            composed.cached_tokens, composed.cache_write_tokens = self._marked_cache.use(body["model"], blocks)
            composed.input_tokens = marked_cache.tokens_of(blocks)
            if body.get("stream"):
                pieces = (event.encode() for event in native_wires.events(body, behaviour, composed))
                return await _stream(request, heard, behaviour, composed, pieces, "text/event-stream")
            return await _whole(request, heard, behaviour, composed, native_wires.message(body, behaviour, composed))

    async def google(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        model = request.match_info["call"].partition(":")[0]
        messages = native_wires.google_messages(body)
        async with self._heard(request, body | {"model": model}, messages) as (heard, behaviour):
            if (refused := await self._native_refusal(request, heard, behaviour, None)) is not None:
                return refused
            cap = (body.get("generationConfig") or {}).get("maxOutputTokens")
            seed, schema = heard.prompt + model, native_wires.google_schema(body)
            composed = compose(behaviour, seed, heard.input_tokens, heard.cached_tokens, schema, cap)
            return await _whole(request, heard, behaviour, composed, native_wires.google_body(model, behaviour, composed))

    async def native_model(self, request: web.Request) -> web.Response:
        if not self._allowed(request):
            return _refused()
        name = request.match_info["model"]
        return web.json_response({"id": name}) if name in self.listed else web.json_response({}, status=404)

    async def _native_refusal(
        self, request: web.Request, heard: Heard, behaviour: Behaviour, complaint: str | None
    ) -> web.StreamResponse | None:
        if not self._allowed(request):
            heard.outcome, heard.status = "failed", 401
            return _refused()
        await asyncio.sleep(behaviour.latency_s)
        if complaint:
            heard.outcome, heard.status = "failed", 400
            error = {"type": "error", "error": {"type": "invalid_request_error", "message": complaint}}
            return web.json_response(error, status=400)
        return await _failure(
            request, heard, behaviour, {"type": "error", "error": {"type": "error", "message": behaviour.error}}
        )

    async def models(self, request: web.Request) -> web.Response:
        if not self._allowed(request):
            return _refused()
        entry = {"object": "model", "created": 0, "owned_by": self.owned_by}
        data: list[dict[str, Any]] = [{"id": name, **entry} for name in self.listed]
        if self.n_ctx is not None:
            data = [one | {"meta": {"n_ctx": self.n_ctx}} for one in data]
        if self.shutdown_dates is not None:
            data = [one | {"shutdown_date": self.shutdown_dates.get(one["id"])} for one in data]
        return web.json_response({"object": "list", "data": data})

    async def vllm_version(self, request: web.Request) -> web.Response:
        return web.json_response({"version": "0.32.0"})

    async def ollama_chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        pulled = self.memory.find(body["model"])
        if pulled is None:
            return web.json_response({"error": f"model '{body['model']}' not found"}, status=404)
        if body.get("think") and "thinking" not in pulled.capabilities:
            return web.json_response({"error": f'"{body["model"]}" does not support thinking'}, status=400)
        if body.get("tools") and "tools" not in pulled.capabilities:
            return web.json_response(
                {"error": f"registry.ollama.ai/library/{body['model']} does not support tools"}, status=400
            )
        messages = ollama_wire.messages(body)
        async with self._heard(request, body, messages) as (heard, behaviour):
            try:
                return await self._ollama_answer(request, body, pulled, messages, heard, behaviour)
            finally:
                if pulled.name in self.memory.loaded:
                    self.memory.ended(self.memory.loaded[pulled.name], body.get("keep_alive"))

    async def ollama_generate(self, request: web.Request) -> web.Response:
        body = await request.json()
        pulled = self.memory.find(body["model"])
        if pulled is None:
            return web.json_response({"error": f"model '{body['model']}' not found"}, status=404)
        base = {"model": body["model"], "created_at": "2026-06-01T00:00:00Z", "response": "", "done": True}
        if body.get("keep_alive") == 0:
            self.memory.loaded.pop(pulled.name, None)
            return web.json_response(base | {"done_reason": "unload"})
        _, is_new = self.memory.use(pulled, body)
        load_s = self.memory.load_s if is_new else 0.0
        await asyncio.sleep(load_s)
        return web.json_response(base | {"done_reason": "load"})

    async def ollama_show(self, request: web.Request) -> web.Response:
        body = await request.json()
        pulled = self.memory.find(body.get("model") or body.get("name") or "")
        if pulled is None:
            return web.json_response({"error": f"model '{body.get('model')}' not found"}, status=404)
        return web.json_response(self.memory.show(pulled))

    async def ollama_tags(self, request: web.Request) -> web.Response:
        return web.json_response(self.memory.tags())

    async def ollama_running(self, request: web.Request) -> web.Response:
        return web.json_response(self.memory.running())

    async def ollama_version(self, request: web.Request) -> web.Response:
        return web.json_response({"version": self.memory.version})

    async def ollama_root(self, request: web.Request) -> web.Response:
        return web.Response(text="Ollama is running") if self.memory.answers_at_root else web.Response(status=404)

    async def control(self, request: web.Request) -> web.Response:
        told = await request.json()
        try:
            self.script.change(told)
        except (ValueError, TypeError, KeyError) as error:
            return web.json_response({"error": str(error)}, status=400)
        self.memory.change(told.get("ollama", {}))
        self.later.change(told.get("later", {}))
        self._api_key = told.get("api_key", self._api_key)
        self.listed = told.get("models", self.listed)
        self.shutdown_dates = told.get("shutdown_dates", self.shutdown_dates)
        self.n_ctx = told.get("n_ctx", self.n_ctx)
        self.owned_by = told.get("owned_by", self.owned_by)
        self._marked_cache.clock_s = told.get("clock_s", self._marked_cache.clock_s)
        return web.json_response({})

    async def ledger(self, request: web.Request) -> web.Response:
        told = self.truth.summary(full="full" in request.query)
        return web.json_response(told | {"ollama_loads": self.memory.loads, "later": self.later.summary()})

    async def reset(self, request: web.Request) -> web.Response:
        self._forget()
        return web.json_response({})

    def _forget(self) -> None:
        self.script, self.truth, self.memory, self._cache = Script(), Truth(), ollama_wire.Memory(), PrefixCache()
        self.script.defaults["latency_s"] = self._latency_s
        self._marked_cache = MarkedCache()
        self.later = LaterServer(self._answer_later, self._allowed)
        self._api_key = None
        self.listed = ["gpt-5", "gpt-5-mini", "fake-model"]
        self.shutdown_dates = {}
        self.n_ctx = None
        self.owned_by = "fake"

    async def _answer_later(self, path: str, body: Body, lane: str) -> tuple[int, Mapping[str, Any]]:
        """A line of a batch or a background response, answered and billed as the same request sent alone."""
        is_responses = path.endswith("/responses")
        messages = openai_wire.responses_messages(body) if is_responses else openai_wire.chat_messages(body)
        async with self._heard(_Unsent(path), body, messages) as (heard, behaviour):
            heard.lane = lane
            why = openai_rules.complaint(body) if is_responses else None
            if why or behaviour.status >= 400:
                heard.outcome, heard.status = "failed", 400 if why else behaviour.status
                error = {"message": why, "type": "invalid_request_error", "param": None, "code": None}
                return heard.status, {"error": error} if why else openai_wire.error_body(behaviour)
            schema = (openai_wire.responses_schema if is_responses else openai_wire.chat_schema)(body)
            cap = body.get("max_output_tokens") or body.get("max_completion_tokens") or body.get("max_tokens")
            seed = heard.prompt + body["model"]
            composed = compose(behaviour, seed, heard.input_tokens, heard.cached_tokens, schema, cap)
            if is_marked(body["model"]):
                self._use_marked_cache(body, behaviour, composed)
            _count(heard, composed)
            heard.outcome, heard.status = "answered", 200
            whole = openai_wire.responses_body if is_responses else openai_wire.chat_body
            return 200, whole(body, behaviour, composed)

    def _allowed(self, request: web.Request) -> bool:
        given = (request.headers.get("x-api-key"), request.headers.get("x-goog-api-key"))
        bearer = request.headers.get("authorization") == f"Bearer {self._api_key}"
        return self._api_key is None or bearer or self._api_key in given

    @asynccontextmanager
    async def _heard(
        self, request: web.Request | _Unsent, body: Body, messages: list[tuple[str, str]]
    ) -> AsyncIterator[tuple[Heard, Behaviour]]:
        prompt = "\n".join(text for _, text in messages)
        heard = self.truth.begin(Heard(request.path, body["model"], prompt_hash(messages)))
        heard.authorization = "authorization" in request.headers
        heard.lane = body.get("service_tier") or "default"
        heard.input_tokens = prompt_tokens(prompt)
        heard.cached_tokens = self._cache.cached_tokens(body["model"], prompt)
        behaviour = self.script.behaviour(request.path, body["model"], prompt)
        if behaviour.vocabulary:
            _recount(heard, prompt, behaviour)
        try:
            yield heard, behaviour
        finally:
            self.truth.end(heard)

    async def _openai(
        self,
        request: web.Request,
        body: Body,
        messages: list[tuple[str, str]],
        cap: int | None,
        schema_of: Callable[[Body], Mapping[str, Any] | None],
        whole: Callable[[Body, Behaviour, Composed], dict[str, Any]],
        events: Callable[[Body, Behaviour, Composed], Iterator[str]],
    ) -> web.StreamResponse:
        async with self._heard(request, body, messages) as (heard, behaviour):
            if not self._allowed(request):
                heard.outcome, heard.status = "failed", 401
                return _refused()
            await asyncio.sleep(behaviour.latency_s)
            if request.path.endswith("/responses") and (why := openai_rules.complaint(body)):
                heard.outcome, heard.status = "failed", 400
                error = {"message": why, "type": "invalid_request_error", "param": None, "code": None}
                return web.json_response({"error": error}, status=400)
            if (failed := await _failure(request, heard, behaviour, openai_wire.error_body(behaviour))) is not None:
                return failed
            composed = compose(
                behaviour, heard.prompt + body["model"], heard.input_tokens, heard.cached_tokens, schema_of(body), cap
            )
            if is_marked(body["model"]):
                self._use_marked_cache(body, behaviour, composed)
            if body.get("stream"):
                pieces = (event.encode() for event in events(body, behaviour, composed))
                return await _stream(request, heard, behaviour, composed, pieces, "text/event-stream")
            await asyncio.sleep(behaviour.hang_s)
            return await _whole(request, heard, behaviour, composed, whole(body, behaviour, composed))

    def _use_marked_cache(self, body: Body, behaviour: Behaviour, composed: Composed) -> None:
        """From the first token on: requests that arrive before it do not find what this one writes."""
        blocks = marked_cache.openai_blocks(body)
        read, written = self._marked_cache.use(body["model"], blocks)
        if behaviour.input_tokens is None and not behaviour.vocabulary:
            composed.input_tokens = marked_cache.tokens_of(blocks)
        composed.cached_tokens = read if behaviour.cached_tokens is None else behaviour.cached_tokens
        composed.cache_write_tokens = written if behaviour.cache_write_tokens is None else behaviour.cache_write_tokens

    async def _ollama_answer(
        self,
        request: web.Request,
        body: Body,
        pulled: ollama_wire.Pulled,
        messages: list[tuple[str, str]],
        heard: Heard,
        behaviour: Behaviour,
    ) -> web.StreamResponse:
        options = body.get("options") or {}
        loaded, is_new = self.memory.use(pulled, body)
        load_s = behaviour.load_s if behaviour.load_s is not None else self.memory.load_s if is_new else 0.0
        await asyncio.sleep(behaviour.latency_s + load_s)
        if (failed := await _failure(request, heard, behaviour, {"error": behaviour.error})) is not None:
            return failed
        if heard.input_tokens > loaded.num_ctx:
            if body.get("truncate") is False and self.memory.knows_truncate:
                heard.outcome, heard.status = "failed", 400
                return web.json_response({"error": "the input length exceeds the context length"}, status=400)
            heard.input_tokens = loaded.num_ctx if self.memory.old_cut else loaded.num_ctx // 2 + 2
        cap = options.get("num_predict")
        seed = heard.prompt + body["model"] + str(options.get("seed", ""))
        composed = compose(behaviour, seed, heard.input_tokens, 0, ollama_wire.schema(body), cap if cap and cap > 0 else None)
        answer = ollama_wire.lines(body, behaviour, composed, load_s, behaviour.latency_s)
        if body.get("stream", True):
            pieces = (json.dumps(line).encode() + b"\n" for line in answer)
            return await _stream(request, heard, behaviour, composed, pieces, "application/x-ndjson")
        await asyncio.sleep(behaviour.hang_s)
        return await _whole(request, heard, behaviour, composed, list(answer)[-1])


async def _failure(
    request: web.Request, heard: Heard, behaviour: Behaviour, body: Mapping[str, Any]
) -> web.StreamResponse | None:
    """The scripted error or raw body, None for a healthy answer."""
    headers = {"x-request-id": f"req_{id(heard):x}"}
    if behaviour.retry_after is not None:
        headers["Retry-After"] = behaviour.retry_after
    if behaviour.raw is not None:
        heard.outcome, heard.status = "failed", behaviour.status
        return web.Response(text=behaviour.raw, status=behaviour.status, headers=headers, content_type="application/json")
    if behaviour.status >= 400:
        heard.outcome, heard.status = "failed", behaviour.status
        return web.json_response(body, status=behaviour.status, headers=headers)
    return None


async def _whole(
    request: web.Request, heard: Heard, behaviour: Behaviour, composed: Composed, body: Mapping[str, Any]
) -> web.StreamResponse:
    text = json.dumps(body).encode()
    headers = {"x-request-id": f"req_{heard.at:.6f}", "openai-processing-ms": "1"}
    _count(heard, composed)
    if not behaviour.cut:
        heard.outcome, heard.status = "answered", 200
        return web.Response(body=text, headers=headers, content_type="application/json")
    response = web.StreamResponse(headers=headers | {"content-length": str(len(text))})
    response.content_type = "application/json"
    await response.prepare(request)
    await response.write(text[: len(text) // 2])
    return _cut(request, heard, response)


async def _stream(
    request: web.Request,
    heard: Heard,
    behaviour: Behaviour,
    composed: Composed,
    pieces: Iterator[bytes],
    content_type: str,
) -> web.StreamResponse:
    response = web.StreamResponse(headers={"x-request-id": f"req_{heard.at:.6f}"})
    response.content_type = content_type
    await response.prepare(request)
    await asyncio.sleep(behaviour.hang_s)
    _count(heard, composed)
    waiting = list(pieces)
    for index, piece in enumerate(waiting):
        if behaviour.cut and index >= len(waiting) // 2:
            return _cut(request, heard, response)
        await response.write(piece)
        if behaviour.token_s:
            await asyncio.sleep(behaviour.token_s * behaviour.chunk_tokens)
    await response.write_eof()
    heard.outcome, heard.status = "answered", 200
    return response


def _cut(request: web.Request, heard: Heard, response: web.StreamResponse) -> web.StreamResponse:
    heard.outcome, heard.status = "cut", 200
    if request.transport is not None:
        request.transport.close()
    return response


def _count(heard: Heard, composed: Composed) -> None:
    heard.input_tokens, heard.cached_tokens = composed.input_tokens, composed.cached_tokens
    heard.cache_write_tokens = composed.cache_write_tokens or 0
    heard.output_tokens, heard.reasoning_tokens = composed.output_tokens, composed.reasoning_tokens


def _recount(heard: Heard, prompt: str, behaviour: Behaviour) -> None:
    """The same prompt in another vocabulary's tokens."""
    from toktok import batch_count

    told = round(batch_count([prompt], behaviour.vocabulary)[0] * behaviour.counts)
    cached = round(behaviour.warm * heard.cached_tokens * told / max(1, heard.input_tokens))
    heard.input_tokens, heard.cached_tokens = told, cached


def _refused() -> web.Response:
    error = {"message": "Incorrect API key provided.", "type": "invalid_request_error", "code": "invalid_api_key"}
    return web.json_response({"error": error | {"param": None}}, status=401)


async def serve(port: int, latency_s: float) -> None:
    """Until the process is ended, or its standard input closes."""
    # Cancelling the handler is how a client that went away shows up as `abandoned`.
    runner = web.AppRunner(FakeServer(latency_s).app(), handler_cancellation=True, access_log=None)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", port, backlog=1024)
    await site.start()
    address = runner.addresses[0]
    sys.stdout.write(json.dumps({"url": f"http://{address[0]}:{address[1]}", "at": time.time()}) + "\n")
    sys.stdout.flush()
    await asyncio.to_thread(sys.stdin.read)
    await runner.cleanup()


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency-s", type=float, default=0.0)
    told = parser.parse_args()
    import uvloop

    uvloop.run(serve(told.port, told.latency_s))


if __name__ == "__main__":
    main()
