"""OpenAI's two APIs through langchain-openai: Responses at the real endpoint, Chat Completions at compatible servers."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from agents.contract.answer import Answer
from agents.contract.lineup import Model, Server
from agents.contract.request import Request
from agents.llms.bodies import chat_answer, responses_answer
from agents.llms.messages import langchain_messages, tool_spec
from agents.llms.openai_probe import probe_models
from agents.llms.provider import ServerReport, Turn, Warmth, no_wait, output_cap
from agents.llms.wire import Wire, hooks

URL = "https://api.openai.com/v1"
FLEX_TIMEOUT_S = 900.0
CONNECT_TIMEOUT_S = 15.0
_MOST_CONNECTIONS = 10_000
"""Said because aiohttp would make None a hundred; the gate counts what may be out."""


class OpenAI:
    """One server that speaks the OpenAI API, as one event loop reaches it."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self._url = base_url(server)
        self._responses = uses_responses(server)
        self._http: Any = None
        self._chats: dict[str, Any] = {}

    def context_window(self, model: Model) -> int | None:
        return model.params.get("num_ctx")

    def timeout_s(self, model: Model) -> float:
        flex = model.params.get("service_tier") == "flex"
        return max(self.server.timeout_s, FLEX_TIMEOUT_S) if flex else self.server.timeout_s

    async def prepare(self, model: Model) -> None:
        if model.name not in self._chats:
            self._chats[model.name] = self._build(model)

    def turn(self, model: Model) -> Any:
        return no_wait()

    async def send(self, request: Request, turn: Turn, wire: Wire) -> Answer:
        messages = langchain_messages(request.parts, parsed_arguments=False)
        arguments = responses_arguments(request) if self._responses else chat_arguments(request)
        try:
            await self.prepare(request.model)
            await self._chats[request.model.name].post(messages, **arguments)
        except Exception:
            # The SDK may choke on an answer that is complete and billed: what came over the wire decides.
            if wire.status is None or wire.status >= 400 or wire.body is None:
                raise
        return responses_answer(wire) if self._responses else chat_answer(wire)

    async def probe(self, models: Sequence[Model]) -> ServerReport:
        return await probe_models(self.server, self._url, models)

    async def warm(self, model: Model) -> Warmth:
        return Warmth()

    async def release(self, model: Model, before: Warmth) -> None:
        return None

    async def aclose(self) -> None:
        if self._http is not None:
            await self._http.aclose()

    def _build(self, model: Model) -> Any:
        from openai import Timeout

        from agents.llms.openai_chat import PostingChatOpenAI

        # An async key leaves the synchronous client unbuilt; the empty proxy keeps OPENAI_PROXY out. How long an answer may
        # take is the door's to say, model by model: models of one name but different tiers share this client.
        return PostingChatOpenAI(
            model=model.name,
            base_url=self._url,
            api_key=self._key,
            max_retries=0,
            timeout=Timeout(None, connect=CONNECT_TIMEOUT_S),
            use_responses_api=self._responses,
            http_async_client=self._client(),
            openai_proxy="",
            streaming=False,
            cache=False,
        )

    def _client(self) -> Any:
        if self._http is None:
            import httpx2
            from openai import DefaultAioHttpClient

            local = is_loopback(self._url)
            self._http = DefaultAioHttpClient(
                event_hooks=hooks(stream=False),
                trust_env=not local,
                verify=not (local and self._url.startswith("http:")),
                limits=httpx2.Limits(max_connections=_MOST_CONNECTIONS),
            )
        return self._http

    async def _key(self) -> str:
        return self.server.api_key or "none"


def base_url(server: Server) -> str:
    """The address to use, always explicit so that OPENAI_BASE_URL never matters; /v1 is added to a bare host."""
    if not server.url:
        return URL
    url = server.url.rstrip("/")
    return url if urlsplit(url).path.strip("/") else f"{url}/v1"


def uses_responses(server: Server) -> bool:
    """Whether the Responses API is spoken: at the real endpoint, or where the server's `api` says so."""
    if server.api:
        return server.api == "responses"
    return server.provider == "openai" and urlsplit(base_url(server)).hostname == urlsplit(URL).hostname


def is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def responses_arguments(request: Request) -> dict[str, Any]:
    """What is sent to the Responses API beside the messages; everything that changes an answer is explicit. So are tools that
    nothing enforces: this API would make them strict by itself, and an arm's skill with tools would not compare."""
    params = request.model.params
    arguments = _given(params, "verbosity", "service_tier", "temperature", "top_p") | {
        "store": False,
        "max_output_tokens": output_cap(request),
        "prompt_cache_key": request.cache_key or None,
        "response_format": response_format(_without_lengths(request.schema)),
        "tools": [{**tool_spec(tool), "strict": False} for tool in request.tools] or None,
    }
    if effort := params.get("reasoning_effort"):
        arguments["reasoning"] = {"effort": effort} | _given(params, summary="reasoning_summary")
    return _present(arguments)


def chat_arguments(request: Request) -> dict[str, Any]:
    """What is sent to Chat Completions beside the messages; the body keys that LangChain would rename or parse go
    in as extra_body."""
    params = request.model.params
    direct = _given(params, "reasoning_effort", "verbosity", "service_tier", "temperature", "top_p", "seed")
    cap = "max_completion_tokens" if params.get("reasoning_effort") else "max_tokens"
    extra = {cap: output_cap(request), "top_k": params.get("top_k"), "response_format": response_format(request.schema)}
    tools = [tool_spec(tool) for tool in request.tools]
    return _present(direct | {"tools": tools or None, "extra_body": _present(extra) or None})


def response_format(schema: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The schema as both APIs take it; strict where it fulfils what strict demands."""
    if schema is None:
        return None
    name = re.sub(r"[^A-Za-z0-9_-]", "_", str(schema.get("title") or "answer"))[:64]
    return {"type": "json_schema", "json_schema": {"name": name, "schema": dict(schema), "strict": is_strict(schema)}}


def _without_lengths(schema: Any) -> Any:
    """OpenAI's own API answers 400 to a strict schema that bounds the length of strings; the output cap does it there."""
    if not isinstance(schema, Mapping):
        return schema
    return {key: _without_lengths(value) for key, value in schema.items() if key not in ("maxLength", "minLength")}


def is_strict(schema: Any) -> bool:
    """Whether every object of the schema is closed and requires all its properties."""
    if isinstance(schema, Mapping):
        properties = schema.get("properties")
        if isinstance(properties, Mapping) and (
            schema.get("additionalProperties") is not False or set(schema.get("required", ())) != set(properties)
        ):
            return False
        return all(is_strict(value) for value in schema.values())
    return all(is_strict(value) for value in schema) if isinstance(schema, (list, tuple)) else True


def _given(params: Mapping[str, Any], *names: str, **renamed: str) -> dict[str, Any]:
    pairs = {name: name for name in names} | renamed
    return {sent: params[name] for sent, name in pairs.items() if params.get(name) is not None}


def _present(arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in arguments.items() if value is not None}
