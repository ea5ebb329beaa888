"""The model client: the servers that a process reaches, and `ask`, which admits, sends and records every request."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib import import_module
from typing import Any

from agents.admission import Admission, Call, DeferringAdmission, Permit, WorstCase
from agents.errors import ModelCallError, PromptTooLong, Unsupported
from agents.llms.failures import classify, without_keys
from agents.llms.prompt_cuts import PromptCheck
from agents.llms.provider import (
    UNCAPPED_OUTPUT_TOKENS,
    ComposingProvider,
    ServerClient,
    ServerReport,
    Slot,
    Warmth,
    output_cap,
    takes_cache_marks,
)
from agents.llms.tokens import estimate_request
from agents.llms.wire import Wire, tapped
from agents.types import Answer, CallSite, Failure, Model, Request, Server, Timing
from domain.providers import PROVIDERS

_ESTIMATE_MARGIN = 1.25
"""Factor by which an estimate of tokens may be too low."""


class Clients:
    """The servers that a process reaches; belongs to the event loop that first uses it."""

    def __init__(self, servers: Mapping[str, Server], owner: str = "") -> None:
        """`owner` (a run, a worker) is shown to other processes that wait for the embedded model."""
        self._servers = dict(servers)
        self._owner = owner
        self._providers: dict[str, ServerClient] = {}
        self._prompt_check = PromptCheck()
        _disable_tracing()

    def provider(self, model: Model) -> ServerClient:
        """The provider of a model's server. Raises Unsupported for an unknown server or provider."""
        server = self._server(model)
        if server.name not in self._providers:
            self._providers[server.name] = _build(server, self._owner)
        return self._providers[server.name]

    def takes_cache_marks(self, model: Model) -> bool:
        """Whether the prompt cache of a model's server keeps prefixes where a request marks them."""
        return takes_cache_marks(self._server(model), model)

    def checked(self, request: Request, answer: Answer) -> Answer:
        """The answer, marked as truncated if its server cut the prompt."""
        is_cut = not answer.truncated and self._prompt_check.was_cut(request, answer.usage)
        return replace(answer, truncated=True) if is_cut else answer

    async def warm(self, model: Model) -> Warmth:
        """Load a model outside any timing; pass the result to `release` at the end of its arm."""
        return await self.provider(model).warm(model)

    async def release(self, model: Model, before: Warmth) -> None:
        """Restore the model's state from before `warm`; other users of the server are not affected."""
        await self.provider(model).release(model, before)

    async def aclose(self) -> None:
        """Close all connections; the embedded server ends with its last user."""
        providers, self._providers = list(self._providers.values()), {}
        for provider in providers:
            await provider.aclose()

    async def __aenter__(self) -> Clients:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()

    def _server(self, model: Model) -> Server:
        if model.server in self._servers:
            return self._servers[model.server]
        if model.server:
            known = ", ".join(sorted(self._servers)) or "none"
            raise Unsupported(f"model {model.alias!r} names server {model.server!r}; known: {known}")
        return next((server for server in self._servers.values() if server.provider == model.provider), _default(model))


async def probe(server: Server, models: Sequence[Model]) -> ServerReport:
    """Report on a server and these models; an unreachable server is reported, not raised."""
    provider = _build(server, "probe")
    try:
        return await provider.probe(models)
    finally:
        await provider.aclose()


def _build(server: Server, owner: str) -> ServerClient:
    """Connect by the module that the provider's record names; it is imported only now."""
    if server.provider not in PROVIDERS:
        known = ", ".join(sorted(PROVIDERS))
        raise Unsupported(f"unknown provider {server.provider!r} of server {server.name!r}; known: {known}")
    connect: Callable[[Server, str], ServerClient] = _module(PROVIDERS[server.provider].client).connect
    return connect(server, owner)


def _module(client: str) -> Any:
    return import_module(f"agents.llms.{client}")


def _default(model: Model) -> Server:
    return Server(name=model.provider, provider=model.provider)


def _disable_tracing() -> None:
    """LANGSMITH_* variables would send prompts to a third party, and block the process while that server is down."""
    import langsmith

    settings: dict[str, Any] = {"enabled": False}
    langsmith.configure(**settings)


async def ask(site: CallSite, request: Request, admission: Admission, clients: Clients) -> Answer:
    """Answer one request, from the journal if it was paid for before; every attempt is admitted and recorded.

    Raises PromptTooLong before anything is sent, ModelCallError when the admission allows no further attempt, and Halt when the
    cell must not continue.
    """
    recalled = await admission.recall(site, request)
    if recalled is not None:
        return recalled
    provider = clients.provider(request.model)
    await provider.prepare(request.model)
    counted = estimate_request(request)
    worst = worst_case(request, provider.context_window(request.model), counted)
    if request.model.lane.is_deferred:
        raise error_of(request, await _defer(site, request, worst, admission, provider))
    while True:
        permit = await admission.admit(site, request, worst)
        call = await _send_or_discard(site, request, permit, admission, provider)
        if call.answer is not None and (answer := clients.checked(request, call.answer)) is not call.answer:
            call = replace(call, answer=answer)
        wait_s = await admission.record(call)
        if call.answer is not None:
            return call.answer
        if wait_s is None:
            raise error_of(request, call.failure)
        await asyncio.sleep(wait_s)


async def _defer(site: CallSite, request: Request, worst: WorstCase, admission: Admission, provider: ServerClient) -> Failure:
    """Hand a request of a deferred lane over; returns only its last failure. Raises Suspended while there is no answer."""
    model = request.model
    if request.tools:
        raise Unsupported(f"{model.alias!r} is in lane {model.lane.name}, hours from its next round of tools; use now or flex")
    if not isinstance(provider, ComposingProvider):
        raise Unsupported(f"provider {model.provider} offers no lane {model.lane.name}; use lane: now")
    if not isinstance(admission, DeferringAdmission):
        raise Unsupported(
            f"{model.alias!r} is in lane {model.lane.name}, and its answer is needed at once here; use now or flex"
        )
    return await admission.defer(site, request, worst, await provider.compose(request))


def worst_case(request: Request, window: int | None, estimated: int) -> WorstCase:
    """The most tokens that a request can use, given the estimate of its prompt.

    Raises PromptTooLong if prompt and answer cannot fit the context window.
    """
    cap = output_cap(request)
    if window is None:
        return WorstCase(round(estimated * _ESTIMATE_MARGIN), cap or UNCAPPED_OUTPUT_TOKENS)
    if estimated + (cap or 0) > window:
        model = request.model
        raise PromptTooLong(
            f"about {estimated} tokens of prompt and {cap or 0} of answer do not fit the {window} tokens of {model.alias!r} "
            f"({model.name}); raise num_ctx, lower max_output_tokens or lower budget_tokens of the pipeline"
        )
    return WorstCase(min(round(estimated * _ESTIMATE_MARGIN), window), min(cap or window, window))


async def _send_or_discard(
    site: CallSite, request: Request, permit: Permit, admission: Admission, provider: ServerClient
) -> Call:
    try:
        return await _send(site, request, permit, provider)
    except BaseException:
        # Cancelled, or an internal error: the request may be billed anyway.
        await asyncio.shield(admission.discard(site, permit))
        raise


async def _send(site: CallSite, request: Request, permit: Permit, provider: ServerClient) -> Call:
    arrived, started_at, answer, failure, slot = time.perf_counter(), time.time(), None, None, Slot()
    started = arrived
    with tapped() as wire:
        try:
            async with provider.slot(request.model) as slot:
                started, started_at = time.perf_counter(), time.time()
                async with asyncio.timeout(provider.timeout_s(request.model)):
                    answer = await provider.send(request, slot, wire)
        except Exception as error:  # noqa: BLE001 - whatever a client raises becomes a recorded failure
            failure = without_keys(classify(error, wire), provider.server.api_key)
        duration_s = time.perf_counter() - started
    ttft_s = wire.ttft_at - started if wire.ttft_at is not None else None
    timing = _timing(answer, slot, started_at, duration_s, ttft_s)
    return Call(
        call_id=permit.call_id,
        site=site,
        request=request,
        timing=timing,
        answer=replace(answer, timing=timing) if answer else None,
        failure=failure,
        params=wire.sent if wire.sent is not None else request.model.params,
        not_sent=_not_sent(request, wire),
        queued_s=permit.queued_s + slot.waited_s,
        backoff_s=permit.backoff_s,
    )


def _not_sent(request: Request, wire: Wire) -> dict[str, Any]:
    """Options of the request that are not in the body that was sent."""
    if not request.options or wire.sent is None:
        return {**request.dropped, **wire.refused}
    sent = {**wire.sent, **(wire.sent.get("options") or {})}
    return {**request.dropped, **wire.refused} | {
        name: value
        for name, value in request.options.items()
        if name not in sent or (name in request.sampling and sent[name] != value)
    }


def _timing(answer: Answer | None, slot: Slot, started_at: float, duration_s: float, ttft_s: float | None) -> Timing:
    """Our own measurement around the server's. The duration includes loading, as on a server that loads on demand."""
    reported, loaded_s = answer.timing if answer else Timing(), slot.load_s or 0.0
    load_s = reported.load_s if reported.load_s is not None else slot.load_s
    ttft_s = reported.ttft_s if reported.ttft_s is not None else ttft_s
    return Timing(started_at - loaded_s, ttft_s, duration_s + loaded_s, load_s, reported.prefill_s, reported.decode_s)


def error_of(request: Request, failure: Failure | None) -> ModelCallError:
    """The error for a call that admission allows no further attempt at."""
    failure = failure or Failure("bad_answer", "no answer and no failure", "Nothing")
    return ModelCallError(
        f"{request.model.alias} ({request.model.name}): {failure.message}",
        cause=failure.cause,
        http_status=failure.http_status,
        retry_after_s=failure.retry_after_s,
        request_id=failure.request_id,
    )


def preload() -> None:
    """Import every installed provider library before a process forks, so that its children need not; nothing is connected."""
    import aiohttp  # noqa: F401
    import langchain_ollama  # noqa: F401
    import numpy as np  # noqa: F401

    for provider in PROVIDERS.values():
        _module(provider.client)
    # The client of OpenAI's API serves every compatible server, the embedded one included.
    compatible = next(name for name, provider in PROVIDERS.items() if provider.needs_url)
    asyncio.run(_build_once(_build(Server("preload", compatible, url="http://127.0.0.1/v1"), "preload")))


async def _build_once(provider: ServerClient) -> None:
    """The SDK imports some of its modules only when a client is built."""
    await provider.prepare(Model("preload", provider.server.provider, "preload"))
    await provider.aclose()
