"""OpenAI's two APIs: Responses at api.openai.com, Chat Completions at compatible servers."""

from __future__ import annotations

import datetime as dt
import ipaddress
import json
import logging
import re
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

from agents.errors import Unsupported
from agents.llms.hosted import PROBE_TIMEOUT_S, ApiClient, HttpConnection, unused_client, wire_decides
from agents.llms.messages import join, langchain_messages, tool_spec
from agents.llms.openai_bodies import chat_answer, responses_answer
from agents.llms.openai_stream import whole_body
from agents.llms.provider import (
    ModelReport,
    ServerReport,
    Slot,
    effective_params,
    output_cap,
    takes_cache_marks,
)
from agents.llms.rating_probability import TOP_TOKENS
from agents.llms.wire import Wire, sent_params
from agents.types import Answer, ComposedRequest, Model, Part, Request, Server
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
        """Everything but its texts -> body of the last Chat Completions requests that were texts only."""
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
        return await _probe(self.server, self._url, models)

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


async def _probe(server: Server, url: str, models: Sequence[Model]) -> ServerReport:
    """Ask for /models, which is free; a server without that path counts as reachable."""
    import httpx

    key_env = PROVIDERS[server.provider].key_env
    if key_env and not server.api_key and not server.url:
        return ServerReport(server.name, False, problem=f"no {key_env}", fix=f"set {key_env} in .env next to the experiment")
    headers = {"authorization": f"Bearer {server.api_key or 'none'}"}
    try:
        async with httpx.AsyncClient(timeout=PROBE_TIMEOUT_S) as client:
            response = await client.get(f"{url}/models", headers=headers)
            listed = _listed_models(response)
            is_ollama = server.url is not None and await _is_ollama(client, url)
            software = await _software(client, _root(url), listed or {})
    except httpx.HTTPError as error:
        problem = f"{url} does not answer ({type(error).__name__})"
        return ServerReport(server.name, False, problem=problem, fix=_fix_connection(server))
    if response.status_code in (401, 403):
        problem = f"{url} refuses the key (HTTP {response.status_code})"
        return ServerReport(server.name, True, problem=problem, fix=_fix_key(server))
    reports = {model.alias: _model_report(model, listed, url) for model in models}
    if is_ollama:
        warning = f"{url} is an Ollama server: behind /v1 it takes no num_ctx and cuts longer prompts without an error"
        fix = f"for server {server.name!r} and its models write provider: ollama, with url: {_root(url)}"
        return ServerReport(server.name, True, warning=warning, fix=fix, models=reports)
    return ServerReport(server.name, True, models=reports, software=software.name, slots=software.slots)


@dataclass(frozen=True)
class _Software:
    """What answers at an address, if it reports that."""

    name: str | None = None
    slots: int | None = None


async def _software(client: Any, root: str, listed: Mapping[str, Any]) -> _Software:
    """The version of llama-server or vLLM, which name themselves as owners of their models; no other server is asked."""
    owners = {entry.get("owned_by") for entry in listed.values()}
    if "llamacpp" in owners:
        properties = await _json_of(client, f"{root}/props")
        slots = properties.get("total_slots")
        return _Software(
            f"llama-server {properties.get('build_info') or ''}".strip(), slots if isinstance(slots, int) else None
        )
    if "vllm" in owners:
        return _Software(f"vLLM {(await _json_of(client, f'{root}/version')).get('version') or ''}".strip())
    return _Software()


async def _json_of(client: Any, url: str) -> Mapping[str, Any]:
    """The JSON object at an address; empty for anything else."""
    import httpx

    try:
        document = (await client.get(url)).raise_for_status().json()
    except (httpx.HTTPError, ValueError):
        return {}
    return document if isinstance(document, dict) else {}


async def _is_ollama(client: Any, url: str) -> bool:
    import httpx

    try:
        response = await client.get(_root(url))
    except httpx.HTTPError:
        return False
    return response.status_code == 200 and "Ollama is running" in response.text[:200]


def _root(url: str) -> str:
    return url.removesuffix("/v1")


def _listed_models(response: Any) -> dict[str, Any] | None:
    """Model id -> its entry in the server's list, or None if the server does not list its models."""
    try:
        listed = response.json()["data"] if response.status_code == 200 else None
        return {str(entry["id"]): entry for entry in listed} if listed is not None else None
    except (ValueError, KeyError, TypeError):
        return None


def _model_report(model: Model, listed: dict[str, Any] | None, url: str) -> ModelReport:
    problem, fix = _unsupported_params(model)
    if listed is None:
        return ModelReport(model.name, True, problem, fix)
    if model.name not in listed:
        names = ", ".join(sorted(listed)[:12]) or "none"
        fix = f"name one that {url}/models lists: {names}"
        return ModelReport(model.name, False, f"{url} has no model {model.name!r}", fix)
    entry = listed[model.name]
    meta = entry.get("meta") or {}
    length = entry.get("max_model_len") or meta.get("n_ctx")
    context_length = length if isinstance(length, int) else None
    lists_shutdowns, shutdown_date = _listed_shutdown(entry)
    return ModelReport(
        model.name,
        True,
        problem,
        fix,
        quantisation=llama_quantisation(meta.get("ftype")),
        context_length=context_length,
        lists_shutdowns=lists_shutdowns,
        shutdown_date=shutdown_date,
    )


def llama_quantisation(ftype: Any) -> str | None:
    """Q4_K_M for `Q4_K - Medium`, as llama-server names the types of its files; None if it names none."""
    if not isinstance(ftype, str) or not ftype:
        return None
    name, _, size = ftype.removeprefix("(guessed) ").partition(" - ")
    return f"{name}_{size[0]}" if size in ("Small", "Medium", "Large") else _OTHER_TYPES.get(name, name)


_OTHER_TYPES = {"all F32": "F32", "MXFP4 MoE": "MXFP4", "IQ3_S mix": "IQ3_M"}


def _listed_shutdown(entry: Mapping[str, Any]) -> tuple[bool, dt.date | None]:
    """Whether the list has a field for the shutdown, and its date; a date that cannot be read counts as no field."""
    if "shutdown_date" not in entry:
        return False, None
    day = entry["shutdown_date"]
    try:
        return True, None if day is None else dt.date.fromisoformat(day)
    except (TypeError, ValueError):
        return False, None


def _unsupported_params(model: Model) -> tuple[str | None, str | None]:
    """Sampling parameters that OpenAI's models refuse while they reason: the client would drop them, or every call fail."""
    effort = model.params.get("reasoning_effort")
    sampling = [name for name in ("temperature", "top_p") if model.params.get(name) not in (None, 1)]
    if model.provider != "openai" or not sampling or effort in (None, "none"):
        return None, None
    fix = f"remove it from model {model.alias!r}; GPT-5.1 and later take it with reasoning_effort: none"
    return f"{model.name} takes no {' and no '.join(sampling)} while it reasons (reasoning_effort: {effort})", fix


def _fix_connection(server: Server) -> str:
    if PROVIDERS[server.provider].is_hosted and not server.url:
        return "check the network, or a proxy in HTTPS_PROXY"
    return f"start the server, or correct the url of {server.name!r} in servers.yaml"


def _fix_key(server: Server) -> str:
    key_env = PROVIDERS[server.provider].key_env
    return f"set a valid {key_env}" if key_env else f"set a valid key for {server.name!r}"
