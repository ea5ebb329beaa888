"""The local address that carries the calls of attached programs, as an ASGI application and as a server on loopback."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import hmac
import json
import math
import secrets
import socket
import struct
from collections.abc import Awaitable, Callable, Iterator, Mapping, MutableMapping
from typing import Any

from agents import Answer
from harness.gateway import chat_wire, ollama_wire, responses_wire
from harness.gateway.asked import Asked, Refused, need_model
from harness.gateway.conversation import Conversation, Exchange
from harness.web.server import listen

Receive = Callable[[], Awaitable[Any]]
Send = Callable[[Any], Awaitable[None]]
Headers = Mapping[bytes, bytes]

MOST_BODY_BYTES = 16 << 20
FIRST_SIGN_S = 5.0
"""A stream that has waited for so long begins, so that its client does not give up; until then an error has its status."""
_SIGN_S = 10.0
_KEEP_ALIVE_S = 3600
_LOCAL_NAMES = frozenset({"127.0.0.1", "localhost", "[::1]"})
_PIECE_BYTES = 64 << 10
"""A long answer is handed to the connection in pieces of this size: a client that hangs up before the last one is noticed."""
_ON_LOSS = "harness.on_loss"
"""Key of an ASGI scope: called when a client closes its connection before it has read the whole answer."""
_ANSWERS = json.JSONEncoder(ensure_ascii=False)
_JSON, _LINES, _EVENTS = b"application/json", b"application/x-ndjson", b"text/event-stream"

Read = Callable[[Any], Asked]
Whole = Callable[[Asked, Answer, str], dict[str, Any]]
Pieces = Callable[[Asked, Answer, str], Iterator[bytes]]
_WIRES: Mapping[str, tuple[Read, Whole, Pieces, bytes]] = {
    "/chat/completions": (chat_wire.asked, chat_wire.whole, chat_wire.events, _EVENTS),
    "/responses": (responses_wire.asked, responses_wire.whole, responses_wire.events, _EVENTS),
    "/api/chat": (ollama_wire.asked_chat, ollama_wire.whole, ollama_wire.lines, _LINES),
    "/api/generate": (ollama_wire.asked_generate, ollama_wire.whole, ollama_wire.lines, _LINES),
}
_NOT_CARRIED = {
    "/messages": "Anthropic's Messages API is not carried; point the program to an OpenAI or Ollama address",
}
_EMBEDDINGS = frozenset({"/embeddings", "/api/embed", "/api/embeddings"})


class Gateway:
    """ASGI application: /c/TOKEN/... carries the calls of the case with this token."""

    def __init__(self, names: frozenset[str] = frozenset()) -> None:
        """`names`: further host names under which it may be reached."""
        self._names = _LOCAL_NAMES | names
        self._conversations: dict[str, Conversation] = {}

    def add(self, conversation: Conversation, token: str | None = None) -> str:
        """Carry the calls of a case; returns the token of its address."""
        token = token or secrets.token_urlsafe(32)
        self._conversations[token] = conversation
        return token

    def remove(self, token: str) -> None:
        self._conversations.pop(token, None)

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        headers: Headers = dict(scope["headers"])
        try:
            self._check_host(headers)
            conversation, path = await self._find(scope["path"], headers)
            request = _HttpRequest(scope["method"], path, headers, receive, send)
            scope[_ON_LOSS] = request.lose
            await request.serve(conversation)
        except Refused as refusal:
            await _send_error(send, scope["path"], refusal)

    def _check_host(self, headers: Headers) -> None:
        host = headers.get(b"host", b"").decode("latin-1")
        name = host if host.endswith("]") else host.rpartition(":")[0] or host
        if name not in self._names:
            known = ", ".join(sorted(self._names))
            raise Refused(
                403, f"host {name!r} is not this gateway; use one of {known}, or start the proxy with --host-name NAME"
            )

    async def _find(self, path: str, headers: Headers) -> tuple[Conversation, str]:
        token, rest = self._token_and_rest(path)
        for known, conversation in self._conversations.items():
            if hmac.compare_digest(known.encode(), token.encode()):
                return conversation, route(rest)
        raise Refused(401, "unknown token, or its case has ended; use the whole address that the program was given")

    def _token_and_rest(self, path: str) -> tuple[str, str]:
        _, prefix, token, *rest = [*path.split("/", 3), "", ""]
        if prefix != "c":
            raise Refused(404, "addresses of this gateway begin with /c/TOKEN")
        return token, "/" + rest[0]


def route(path: str) -> str:
    """The path without the /v1 that some programs add by themselves."""
    while path == "/v1" or path.startswith("/v1/"):
        path = path[3:]
    return path.rstrip("/")


class _HttpRequest:
    """One HTTP request."""

    def __init__(self, method: str, path: str, headers: Headers, receive: Receive, send: Send) -> None:
        self._method, self._path, self._headers = method, path, headers
        self._receive, self._send = receive, send
        self._has_begun = False
        self._lost = asyncio.get_running_loop().create_future()
        """Done once the client hung up and has not read the whole answer."""
        self._delivered: Exchange | None = None

    def lose(self) -> None:
        """The client hung up and has not read the whole answer, which then goes to the next equal request."""
        if not self._lost.done():
            self._lost.set_result(None)
        if self._delivered is not None:
            self._delivered.deliveries -= 1
            self._delivered = None

    async def serve(self, conversation: Conversation) -> None:
        if self._method == "POST" and self._path in _WIRES:
            await self._ask(conversation)
        elif self._method == "POST" and self._path in _EMBEDDINGS:
            await self._embed(conversation)
        elif self._method in ("GET", "HEAD") and self._path == "":
            await self._send_body(200, b"Ollama is running", b"text/plain")
        elif (listed := _lists(conversation, self._method, self._path)) is not None:
            await self._json(200, listed)
        elif self._path == "/api/show" and self._method == "POST":
            await self._json(200, _shown(conversation, await self._body()))
        else:
            message = _NOT_CARRIED.get(self._path, f"{self._method} {self._path or '/'} is not carried by this gateway")
            raise Refused(404, message, "not_found")

    async def _ask(self, conversation: Conversation) -> None:
        read, whole, pieces, kind = _WIRES[self._path]
        body = await self._body()
        if self._path == "/api/generate" and isinstance(body, dict) and not body.get("prompt"):
            conversation.model(str(body.get("model")))
            return await self._json(200, {"model": body.get("model"), "response": "", "done": True, "done_reason": "load"})
        try:
            asked = read(body)
        except Refused as refusal:
            conversation.refuse("other", str(refusal))
            raise
        is_retry = self._headers.get(b"x-stainless-retry-count", b"0") not in (b"0", b"")
        exchange = conversation.open(asked, is_retry=is_retry)
        exchange.waiters += 1
        try:
            await self._wait(exchange, kind)
            if self._lost.done():
                return None
            # Counted first: an answer that is an error is delivered, too.
            self._delivered = exchange
            exchange.deliveries += 1
            await self._deliver(exchange, whole, pieces, kind)
        finally:
            exchange.waiters -= 1

    async def _embed(self, conversation: Conversation) -> None:
        body = await self._body()
        name = need_model(body)
        given = body.get("input", body.get("prompt"))
        texts = [given] if isinstance(given, str) else given
        if not isinstance(texts, list) or not texts or not all(isinstance(text, str) for text in texts):
            raise Refused(400, "input is a text or a list of texts; token ids are not carried")
        vectors = await conversation.embed(name, texts)
        if self._path == "/api/embeddings":
            return await self._json(200, {"embedding": vectors[0]})
        if self._path == "/api/embed":
            return await self._json(200, {"model": name, "embeddings": vectors})
        is_packed = body.get("encoding_format") == "base64"
        data = [
            {"object": "embedding", "index": index, "embedding": _packed(vector) if is_packed else vector}
            for index, vector in enumerate(vectors)
        ]
        await self._json(200, {"object": "list", "model": name, "data": data, "usage": {"prompt_tokens": 0, "total_tokens": 0}})

    async def _wait(self, exchange: Exchange, kind: bytes) -> None:
        """Wait for the answer with signs of life, until the client hangs up."""
        pause_s = self._first_pause_s(exchange.asked)
        waits: list[asyncio.Future[Any]] = [exchange.task, self._lost]
        while not exchange.task.done() and not self._lost.done():
            await asyncio.wait(waits, timeout=pause_s, return_when=asyncio.FIRST_COMPLETED)
            if not exchange.task.done() and not self._lost.done():
                await self._sign(exchange.asked, kind)
                pause_s = min(pause_s or _SIGN_S, _SIGN_S)

    def _first_pause_s(self, asked: Asked) -> float | None:
        """Streams begin early; a whole answer only shortly before its client's timeout, if that is known."""
        if asked.stream:
            return FIRST_SIGN_S
        try:
            read_timeout_s = float(self._headers.get(b"x-stainless-read-timeout", b"nan"))
        except ValueError:
            return None
        return None if math.isnan(read_timeout_s) else 0.6 * read_timeout_s

    async def _sign(self, asked: Asked, kind: bytes) -> None:
        await self._begin(200, kind if asked.stream else _JSON)
        sign = b" " if not asked.stream else b": waiting\n\n" if kind == _EVENTS else ollama_wire.waiting(asked)
        await self._send({"type": "http.response.body", "body": sign, "more_body": True})

    async def _deliver(self, exchange: Exchange, whole: Whole, pieces: Pieces, kind: bytes) -> None:
        asked = exchange.asked
        try:
            answer = exchange.answer()
        except Refused as refusal:
            if not self._has_begun:
                raise
            return await self._fail_begun(asked, kind, refusal)
        if not asked.stream:
            return await self._json(200, whole(asked, answer, exchange.answer_id))
        await self._send_body(200, b"".join(pieces(asked, answer, exchange.answer_id)), kind)

    async def _fail_begun(self, asked: Asked, kind: bytes, refusal: Refused) -> None:
        """The status is sent already: say it in the stream, or cut the connection so that a retry hears it."""
        if not asked.stream:
            raise ConnectionAbortedError(str(refusal))
        said = {"error": str(refusal)} if kind == _LINES else chat_wire.error(refusal.status, str(refusal), refusal.code)
        await self._send(
            {"type": "http.response.body", "body": ollama_wire.line(said) if kind == _LINES else chat_wire.sse(said)}
        )

    async def _begin(self, status: int, kind: bytes, length: int | None = None) -> None:
        if self._has_begun:
            return
        self._has_begun = True
        headers = [(b"content-type", kind), *([] if length is None else [(b"content-length", str(length).encode())])]
        await self._send({"type": "http.response.start", "status": status, "headers": headers})

    async def _json(self, status: int, body: Any) -> None:
        await self._send_body(status, _ANSWERS.encode(body).encode(), _JSON)

    async def _send_body(self, status: int, body: bytes, kind: bytes) -> None:
        """Send a whole body. A finished stream has a length, too: clients stop at its last event and read no last chunk."""
        has_length = not self._has_begun
        await self._begin(status, kind, len(body))
        body = b"" if self._method == "HEAD" else body
        last = max(len(body) - 1, 0) // _PIECE_BYTES * _PIECE_BYTES
        for start in range(0, last, _PIECE_BYTES):
            await self._send({"type": "http.response.body", "body": body[start : start + _PIECE_BYTES], "more_body": True})
            # Only between two turns of the loop does a connection learn that it was closed.
            await asyncio.sleep(0)
        await self._send({"type": "http.response.body", "body": body[last:]})
        if not has_length:
            # A client that stops at the last event leaves the last chunk unread: no sign that it missed anything.
            self._delivered = None

    async def _body(self) -> Any:
        chunks, size, more = [], 0, True
        while more:
            event = await self._receive()
            if event["type"] == "http.disconnect":
                raise Refused(400, "the client hung up")
            chunks.append(event.get("body", b""))
            size += len(chunks[-1])
            if size > MOST_BODY_BYTES:
                raise Refused(413, f"a request is at most {MOST_BODY_BYTES >> 20} MiB")
            more = event.get("more_body", False)
        try:
            return json.loads(b"".join(chunks))
        except ValueError as error:
            raise Refused(400, f"the body is no JSON: {error}") from error


def _lists(conversation: Conversation, method: str, path: str) -> dict[str, Any] | None:
    """The lists of models, in both formats."""
    names = conversation.model_names
    if method != "GET":
        return None
    entries = [{"id": name, "object": "model", "created": 0, "owned_by": "gateway"} for name in names]
    if path == "/models":
        return {"object": "list", "data": entries}
    if path.startswith("/models/"):
        conversation.model(path.removeprefix("/models/"))
        return {"id": path.removeprefix("/models/"), "object": "model", "created": 0, "owned_by": "gateway"}
    tags = [{"name": name, "model": name, "size": 0, "digest": "", "modified_at": "2026-01-01T00:00:00Z"} for name in names]
    ollama: dict[str, dict[str, Any]] = {
        "/api/tags": {"models": tags},
        "/api/ps": {"models": tags},
        "/api/version": {"version": ollama_wire.VERSION},
    }
    return ollama.get(path)


def _shown(conversation: Conversation, body: Any) -> dict[str, Any]:
    name = str(body.get("model") or body.get("name")) if isinstance(body, dict) else ""
    window = conversation.model(name).params.get("num_ctx")
    info = {"general.architecture": "gateway"} | ({"gateway.context_length": window} if window else {})
    details = {"family": "gateway", "format": "", "parameter_size": "", "quantization_level": ""}
    return {"details": details, "model_info": info, "capabilities": ["completion", "tools"]}


def _packed(vector: list[float]) -> str:
    """A vector as the official client asks for it: little-endian floats in base64."""
    return base64.b64encode(struct.pack(f"<{len(vector)}f", *vector)).decode()


async def _send_error(send: Send, path: str, refusal: Refused) -> None:
    is_ollama = "/api/" in path
    said = {"error": str(refusal)} if is_ollama else chat_wire.error(refusal.status, str(refusal), refusal.code)
    body = json.dumps(said).encode()
    headers = [(b"content-type", _JSON), (b"content-length", str(len(body)).encode())]
    if refusal.code != "retry":
        headers.append((b"x-should-retry", b"false"))
    await send({"type": "http.response.start", "status": refusal.status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


def _protocol() -> type[asyncio.Protocol]:
    """uvicorn's protocol, which also reports a connection that was closed before the client had read the whole answer.

    A client that closes with unread bytes resets the connection; one that has read all of them ends it in order."""
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

    class LossReportingProtocol(HttpToolsProtocol):
        def connection_lost(self, exc: Exception | None) -> None:
            is_unread = exc is not None or (self.cycle is not None and not self.cycle.response_complete)
            super().connection_lost(exc)
            scope: dict[str, Any] = dict(self.scope or {})
            if is_unread and _ON_LOSS in scope:
                scope[_ON_LOSS]()

    return LossReportingProtocol


class LocalServer:
    """Serves an application on loopback within the running event loop."""

    def __init__(self, app: Any, host: str = "127.0.0.1", port: int = 0) -> None:
        self._app, self._host, self._port = app, host, port
        self._serving: asyncio.Task[None] | None = None

    @property
    def url(self) -> str:
        """Address without a path; known once it has started."""
        return f"http://{self._host}:{self._port}"

    @property
    def port(self) -> int:
        """Known once it has started."""
        return self._port

    async def start(self) -> None:
        import uvicorn

        ready = asyncio.Event()

        class NotifyingServer(uvicorn.Server):
            async def startup(self, sockets: list[socket.socket] | None = None) -> None:
                await super().startup(sockets)
                ready.set()

            @contextlib.contextmanager
            def capture_signals(self) -> Iterator[None]:
                """Signals belong to the process that serves."""
                yield

        listening = listen(self._host, self._port)
        self._port = listening.getsockname()[1]
        config = uvicorn.Config(
            self._app,
            http=_protocol(),
            ws="none",
            proxy_headers=False,
            lifespan="off",
            access_log=False,
            log_level="critical",
            log_config=None,
            timeout_keep_alive=_KEEP_ALIVE_S,
            timeout_graceful_shutdown=1,
            server_header=False,
            date_header=False,
        )
        self._server = NotifyingServer(config)
        self._serving = asyncio.create_task(self._server.serve(sockets=[listening]))
        await ready.wait()

    async def stop(self) -> None:
        if self._serving is not None:
            self._server.should_exit = True
            await self._serving
            self._serving = None
