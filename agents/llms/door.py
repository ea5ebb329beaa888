"""The one door to a model: every request is admitted by the gate, sent once and recorded, whatever comes of it."""

from __future__ import annotations

import asyncio
import time
from dataclasses import replace
from typing import TYPE_CHECKING

from agents.contract.answer import Answer, Failure, Timing
from agents.contract.gate import Call, Gate, Permit, WorstCase
from agents.contract.request import Place, Request
from agents.errors import ModelCallError, PromptTooLong
from agents.llms.failures import classify, without_keys
from agents.llms.provider import UNCAPPED_OUTPUT_TOKENS, Provider, Turn, output_cap
from agents.llms.tokens import estimate_request
from agents.llms.wire import tapped

if TYPE_CHECKING:
    from agents.llms.clients import Clients

_MARGIN = 1.25
"""How far an estimate of tokens may fall short of the truth."""


async def ask(place: Place, request: Request, gate: Gate, clients: Clients) -> Answer:
    """The answer to one request, from the journal if it was paid before. Raises PromptTooLong before anything is sent,
    ModelCallError when the gate gives up, and Halt when it refuses to go on."""
    recalled = await gate.recall(place, request)
    if recalled is not None:
        return recalled
    provider = clients.provider(request.model)
    await provider.prepare(request.model)
    worst = worst_case(request, provider.context_window(request.model))
    while True:
        permit = await gate.admit(place, request, worst)
        call = await _send_or_discard(place, request, permit, gate, provider)
        wait_s = await gate.record(call)
        if call.answer is not None:
            return call.answer
        if wait_s is None:
            raise _error(request, call.failure)
        await asyncio.sleep(wait_s)


def worst_case(request: Request, window: int | None) -> WorstCase:
    """The most that a request can use. Raises PromptTooLong when prompt and answer cannot fit the context window."""
    estimated, cap = estimate_request(request), output_cap(request)
    if window is None:
        return WorstCase(round(estimated * _MARGIN), cap or UNCAPPED_OUTPUT_TOKENS)
    if estimated + (cap or 0) > window:
        model = request.model
        raise PromptTooLong(
            f"about {estimated} tokens of prompt and {cap or 0} of answer do not fit the {window} tokens of {model.alias!r} "
            f"({model.name}); raise num_ctx, lower max_output_tokens or lower budget_tokens of the pipeline"
        )
    return WorstCase(min(round(estimated * _MARGIN), window), min(cap or window, window))


async def _send_or_discard(place: Place, request: Request, permit: Permit, gate: Gate, provider: Provider) -> Call:
    try:
        return await _send(place, request, permit, provider)
    except BaseException:
        # Cancelled, or our own fault: the request may be billed all the same.
        await asyncio.shield(gate.discard(place, permit))
        raise


async def _send(place: Place, request: Request, permit: Permit, provider: Provider) -> Call:
    arrived, started_at, answer, failure, turn = time.perf_counter(), time.time(), None, None, Turn()
    started = arrived
    with tapped() as wire:
        try:
            async with provider.turn(request.model) as turn:
                started, started_at = time.perf_counter(), time.time()
                async with asyncio.timeout(provider.timeout_s(request.model)):
                    answer = await provider.send(request, turn, wire)
        except Exception as error:  # noqa: BLE001 - whatever a client raises becomes a recorded failure
            failure = without_keys(classify(error, wire), provider.server.api_key)
        duration_s = time.perf_counter() - started
    timing = _timing(answer, turn, started_at, duration_s)
    return Call(
        call_id=permit.call_id,
        place=place,
        request=request,
        timing=timing,
        answer=replace(answer, timing=timing) if answer else None,
        failure=failure,
        params=wire.sent if wire.sent is not None else request.model.params,
        queued_s=permit.queued_s + turn.waited_s,
        backoff_s=permit.backoff_s,
    )


def _timing(answer: Answer | None, turn: Turn, started_at: float, duration_s: float) -> Timing:
    """Our clock around what the server told. The duration includes the load, here as on a server that loads on demand."""
    told, loaded_s = answer.timing if answer else Timing(), turn.load_s or 0.0
    load_s = told.load_s if told.load_s is not None else turn.load_s
    return replace(told, started_at=started_at - loaded_s, duration_s=duration_s + loaded_s, load_s=load_s)


def _error(request: Request, failure: Failure | None) -> ModelCallError:
    failure = failure or Failure("bad_answer", "no answer and no failure", "Nothing")
    return ModelCallError(
        f"{request.model.alias} ({request.model.name}): {failure.message}",
        cause=failure.cause,
        http_status=failure.http_status,
        retry_after_s=failure.retry_after_s,
        request_id=failure.request_id,
    )
