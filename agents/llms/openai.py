"""OpenAI's two APIs: Responses at api.openai.com, Chat Completions at compatible servers."""

from __future__ import annotations

import ipaddress
import json
import logging
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import urlsplit

from agents.admission import ComposedRequest
from agents.errors import Unsupported
from agents.llms import openai_server
from agents.llms.hosted import ApiClient, HttpConnection, unused_client, wire_decides
from agents.llms.messages import join, langchain_messages, tool_spec
from agents.llms.openai_bodies import chat_answer, responses_answer
from agents.llms.openai_stream import whole_body
from agents.llms.provider import ServerReport, Slot, effective_params, output_cap, takes_cache_marks
from agents.llms.rating_probability import TOP_TOKENS
from agents.llms.wire import Wire, sent_params
from agents.types import Answer, Model, Part, Request, Server
from domain import models
from domain.hosting import is_own_address
from domain.providers import PROVIDERS

URL = "https://api.openai.com/v1"
FLEX_TIMEOUT_S = 900.0
_PLAIN = frozenset({"system", "user"})
"""Roles whose messages are texts only."""
_MOST_PLAIN_BODIES = 64
_BODIES = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"), allow_nan=False)
_SHAPES = json.JSONEncoder(sort_keys=True, default=str)
_BREAKPOINT = {"prompt_cache_breakpoint": {"mode": "explicit"}}
_log = logging.getLogger(__name__)


class OpenAI(ApiClient):
    """One server that speaks the OpenAI API, as one event loop reaches it."""

    def __init__(self, server: Server) -> None:
        super().__init__(server)
        self._url = base_url(server)
        self._uses_responses = uses_responses(server)
        self._chats: dict[str, Any] = {}
        self._plain_bodies: OrderedDict[str, dict[str, Any]] = OrderedDict()
        """Everything but the texts -> body of Chat Completions requests that were texts only; the one used last is last."""
        self._refuses_marks: dict[str, str] = {}
        """Model that answered 400 to cache breakpoints -> its message."""

    def context_window(self, model: Model) -> int | None:
        return model.params.get("num_ctx")

    def timeout_s(self, model: Model) -> float:
        is_flex = model.lane.name == "flex"
        return max(self.server.timeout_s, FLEX_TIMEOUT_S) if is_flex else self.server.timeout_s

    async def prepare(self, model: Model) -> None:
        if model.name not in self._chats:
            self._chats[model.name] = self._build(model)

    async def send(self, request: Request, slot: Slot, wire: Wire) -> Answer:
        if not takes_cache_marks(self.server, request.model):
            return await self._send(request, wire)
        if refusal := self._refuses_marks.get(request.model.name):
            wire.refused["prompt_cache_breakpoint"] = refusal
            return await self._send(request, wire)
        try:
            return await self._send(request, wire, is_marked=True)
        except Exception:
            if wire.status != 400 or b"prompt_cache" not in (wire.body or b""):
                raise
        # An account or a gateway that does not know the markers yet: without them for the rest of this process.
        refusal = (wire.body or b"")[:300].decode("utf-8", "replace")
        self._refuses_marks[request.model.name] = wire.refused["prompt_cache_breakpoint"] = refusal
        _log.warning("%s refuses cache breakpoints for %s: %s", self._url, request.model.name, refusal)
        return await self._send(request, wire)

    async def _send(self, request: Request, wire: Wire, *, is_marked: bool = False) -> Answer:
        if is_marked:
            wire.first_token = request.caching.first_token if request.caching else None
        wire.body = None
        with wire_decides(wire):
            await self.prepare(request.model)
            path, body = self._body(request, is_marked=is_marked)
            await self._post(self._chats[request.model.name], path, body, wire)
        if wire.first_token is not None:
            wire.body = whole_body(wire)
        return responses_answer(wire) if self._uses_responses else chat_answer(wire)

    def _body(self, request: Request, *, is_marked: bool) -> tuple[str, dict[str, Any]]:
        """Path under the base URL, and the JSON body; with breakpoints of the prompt cache if `is_marked`."""
        chat = self._chats[request.model.name]
        if self._uses_responses:
            arguments, path = responses_arguments(request), "/responses"
        else:
            arguments, path = chat_arguments(request), "/chat/completions"
        if is_marked:
            is_long = request.caching is not None and request.caching.is_long
            arguments["prompt_cache_options"] = {"mode": "explicit"} | ({"ttl": "12h"} if is_long else {})
        elif not self._uses_responses and (plain := join(request.parts)) and all(part.role in _PLAIN for part in plain):
            return path, self._plain_body(chat, plain, arguments)
        marks = request.caching.marks if is_marked and request.caching else ()
        messages = langchain_messages(request.parts, parsed_arguments=False, marks=marks, marker=_BREAKPOINT)
        return path, _composed(chat, messages, arguments)

    def _plain_body(self, chat: Any, messages: Sequence[Part], arguments: Mapping[str, Any]) -> dict[str, Any]:
        """The body of messages that are texts only: requests that differ in nothing else are composed once."""
        shape = _SHAPES.encode([chat.model_name, [part.role for part in messages], arguments])
        body = self._plain_bodies.get(shape)
        if body is None:
            body = _composed(chat, langchain_messages(messages, parsed_arguments=False), arguments)
            self._plain_bodies[shape] = body
            if len(self._plain_bodies) > _MOST_PLAIN_BODIES:
                self._plain_bodies.popitem(last=False)
        self._plain_bodies.move_to_end(shape)
        texts = (part.text for part in messages)
        return body | {"messages": [message | {"content": text} for message, text in zip(body["messages"], texts, strict=True)]}

    async def compose(self, request: Request) -> ComposedRequest:
        await self.prepare(request.model)
        is_marked = takes_cache_marks(self.server, request.model) and request.model.name not in self._refuses_marks
        path, body = self._body(request, is_marked=is_marked)
        lane = request.model.lane
        if lane.name.startswith("background"):
            if not self._uses_responses:
                raise Unsupported(
                    f"lane {lane.name} of {request.model.alias!r} needs the Responses API, and server {self.server.name!r} is "
                    "used by Chat Completions; use lane: batch, flex or now, or set api: responses for the server"
                )
            # Without `store` the answer would be deleted about ten minutes after it ended.
            body |= {"background": True, "background_options": {"completion_window": lane.window}, "store": True}
        return ComposedRequest(f"/v1{path}", body, sent_params(body))

    async def probe(self, models: Sequence[Model]) -> ServerReport:
        return await openai_server.probe(self.server, self._url, models)

    def _build(self, model: Model) -> Any:
        from langchain_openai import ChatOpenAI

        # An async key leaves the synchronous client unbuilt, and the empty proxy disables OPENAI_PROXY.
        return ChatOpenAI(
            model=model.name,
            base_url=self._url,
            api_key=self._key,
            max_retries=0,
            use_responses_api=self._uses_responses,
            http_async_client=unused_client(),
            openai_proxy="",
            streaming=False,
            cache=False,
        )

    def _connection(self) -> HttpConnection:
        if self._http is None:
            self._http = HttpConnection(self._url, trusts_environment=not is_loopback(self._url))
        connection: HttpConnection = self._http
        return connection

    async def _post(self, chat: Any, path: str, body: dict[str, Any], wire: Wire) -> None:
        """Send one request; the response is read from the wire. Raises CallFailed, or what the HTTP client raises.

        LangChain composes the body, and aiohttp sends it. `ainvoke` would also convert request and answer to the types of
        both, more than half of the CPU time of a cell, for a message that is not used; the SDK's `post` would build and check
        each request anew. The body on the wire is the same.
        """
        wire.sent = sent_params(body)
        if wire.first_token is not None:
            body |= {"stream": True} | ({} if chat.use_responses_api else {"stream_options": {"include_usage": True}})
        await self._connection().post(path, _BODIES.encode(body).encode(), await self._headers(chat), wire)

    async def _headers(self, chat: Any) -> dict[str, str]:
        """The headers by which the SDK identifies the account."""
        client = chat.root_async_client
        account = {"openai-organization": client.organization, "openai-project": client.project}
        return {
            "authorization": f"Bearer {await self._key()}",
            "accept": "application/json",
            "content-type": "application/json",
            "user-agent": client.user_agent,
            **_without_none(account),
        }

    async def _key(self) -> str:
        return self.server.api_key or "none"


def connect(server: Server, owner: str) -> OpenAI:
    """Client of one server of this kind; `owner` names its user to other processes."""
    return OpenAI(server)


def _composed(chat: Any, messages: Sequence[Any], arguments: Mapping[str, Any]) -> dict[str, Any]:
    """The JSON body as LangChain composes it."""
    payload: dict[str, Any] = chat._get_request_payload(list(messages), **arguments)
    extra = payload.pop("extra_body", None) or {}
    return payload | extra


def base_url(server: Server) -> str:
    """The address to use: always explicit, so that OPENAI_BASE_URL has no effect. /v1 is added to a bare host."""
    url = (server.url or PROVIDERS[server.provider].url or URL).rstrip("/")
    return url if urlsplit(url).path.strip("/") else f"{url}/v1"


def uses_responses(server: Server) -> bool:
    """Whether to use the Responses API: at OpenAI's own addresses, or if the server's `api` is `responses`."""
    if server.api:
        return server.api == "responses"
    provider = PROVIDERS[server.provider]
    return provider.has_responses and is_own_address(provider, server.url)


def is_loopback(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def responses_arguments(request: Request) -> dict[str, Any]:
    """Arguments for the Responses API besides the messages; everything that affects an answer is explicit.

    Tools are declared as not strict: the API would make them strict by default, and tool use would not be comparable
    between providers.
    """
    params = _params(request)
    arguments = (
        _set_params(params, "verbosity", "temperature", "top_p")
        | _tool_options(request)
        | {
            "service_tier": _service_tier(request),
            "store": False,
            "max_output_tokens": output_cap(request),
            "prompt_cache_key": request.cache_key or None,
            "response_format": response_format(_without_lengths(request.schema)),
            "tools": [{**tool_spec(tool), "strict": False} for tool in request.tools] or None,
        }
    )
    if effort := params.get("reasoning_effort"):
        arguments["reasoning"] = {"effort": effort} | _set_params(params, summary="reasoning_summary")
    return _without_none(arguments)


def chat_arguments(request: Request) -> dict[str, Any]:
    """Arguments for Chat Completions besides the messages; keys that LangChain would rename or parse go in as extra_body."""
    params = _params(request)
    direct = _set_params(params, "reasoning_effort", "verbosity", "temperature", "top_p", "seed")
    direct |= _tool_options(request) | _without_none({"service_tier": _service_tier(request)})
    cap = "max_completion_tokens" if params.get("reasoning_effort") else "max_tokens"
    if params.get("rating_probability") and request.schema is not None:
        direct |= {"logprobs": True, "top_logprobs": TOP_TOKENS}
    extra = {cap: output_cap(request), "top_k": params.get("top_k"), "response_format": response_format(request.schema)}
    tools = [tool_spec(tool) for tool in request.tools]
    return _without_none(direct | {"tools": tools or None, "extra_body": _without_none(extra) or None})


def _params(request: Request) -> Mapping[str, Any]:
    """Effective parameters; a model of OpenAI that reasons takes no sampling, so none is requested of it."""
    line, effort = models.line_of(request.model.name), request.model.params.get("reasoning_effort")
    takes_sampling = effort == "none" or not (line and line.sends_effort)
    return effective_params(request) if takes_sampling else request.model.params


def _service_tier(request: Request) -> str | None:
    """The tier of the model's lane; without a lane the project's own default applies."""
    return request.model.lane.service_tier if request.model.params.get("lane") else None


def _tool_options(request: Request) -> dict[str, Any]:
    """How tools may be used, in the format of Chat Completions; LangChain converts it for Responses."""
    choice: Any = request.tool_choice
    if choice is not None and choice not in ("auto", "none", "required"):
        choice = {"type": "function", "function": {"name": choice}}
    return _without_none({"tool_choice": choice, "parallel_tool_calls": request.parallel_tool_calls})


def response_format(schema: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """The schema in the form of both APIs; strict if it meets the requirements of strict mode."""
    if schema is None:
        return None
    name = re.sub(r"[^A-Za-z0-9_-]", "_", str(schema.get("title") or "answer"))[:64]
    return {"type": "json_schema", "json_schema": {"name": name, "schema": dict(schema), "strict": is_strict(schema)}}


def _without_lengths(schema: Any) -> Any:
    """OpenAI answers 400 to a strict schema that limits string lengths; the output cap limits them instead."""
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


def _set_params(params: Mapping[str, Any], *names: str, **renamed: str) -> dict[str, Any]:
    """The parameters that have a value; `renamed` maps the API's name to ours."""
    pairs = {name: name for name in names} | renamed
    return {api_name: params[name] for api_name, name in pairs.items() if params.get(name) is not None}


def _without_none(arguments: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in arguments.items() if value is not None}
