"""Embeddings for attached programs: passed through to a server with OpenAI's format, admitted and recorded like any call."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from agents.admission import Admission, Call, WorstCase
from agents.errors import Unsupported
from agents.llms.clients import Clients, error_of
from agents.llms.failures import classify, failed, from_status, without_keys
from agents.llms.openai import base_url
from agents.llms.openai_bodies import usage
from agents.llms.tokens import estimate_request
from agents.llms.wire import Wire
from agents.types import Answer, CallSite, Model, Part, Request, Server, Timing
from domain.providers import PROVIDERS

_DIGITS = 8


async def embed(
    site: CallSite, model: Model, texts: Sequence[str], admission: Admission, clients: Clients, fingerprint: str = ""
) -> list[list[float]]:
    """One vector per text, from the journal if they were paid for before. Raises ModelCallError and Halt."""
    parts = tuple(Part("user", text, joined=False) for text in texts)
    request = Request(model, parts, fingerprint=fingerprint, program={"wire": "embeddings"})
    answer = await admission.recall(site, request)
    while answer is None:
        permit = await admission.admit(site, request, WorstCase(round(1.25 * estimate_request(request)), 0))
        started_at, began, wire, failure = time.time(), time.perf_counter(), Wire(), None
        try:
            answer = await _post(clients.provider(model).server, model, texts, wire)
        except asyncio.CancelledError:
            await asyncio.shield(admission.discard(site, permit))
            raise
        except Exception as error:  # noqa: BLE001 - whatever a client raises becomes a recorded failure
            failure = without_keys(classify(error, wire), clients.provider(model).server.api_key)
        timing = Timing(started_at, duration_s=time.perf_counter() - began)
        timed = replace(answer, timing=timing) if answer else None
        wait_s = await admission.record(Call(permit.call_id, site, request, timing, timed, failure))
        if answer is None:
            if wait_s is None:
                raise error_of(request, failure)
            await asyncio.sleep(wait_s)
    return [list(map(float, vector)) for vector in json.loads(answer.text)]


async def _post(server: Server, model: Model, texts: Sequence[str], wire: Wire) -> Answer:
    import httpx

    provider = PROVIDERS[server.provider]
    if provider.is_embedded and not server.url:
        raise Unsupported("the embedded models give no embeddings; map another model in pipeline.models")
    url = f"{(server.url or '').rstrip('/')}{provider.openai_path}" if provider.openai_path else base_url(server)
    headers = {"authorization": f"Bearer {server.api_key or 'none'}"}
    async with httpx.AsyncClient(timeout=server.timeout_s, trust_env="127.0.0.1" not in url) as client:
        body = {"model": model.name, "input": list(texts), "encoding_format": "float"}
        response = await client.post(f"{url}/embeddings", json=body, headers=headers)
    wire.status, wire.headers, wire.body = response.status_code, response.headers, response.content
    if response.status_code >= 400:
        raise _refused(wire)
    answered: Any = wire.json()
    try:
        rows = sorted(answered["data"], key=lambda row: int(row["index"]))
        vectors = [[round(float(value), _DIGITS) for value in row["embedding"]] for row in rows]
    except (TypeError, KeyError, ValueError) as error:
        raise failed("bad_answer", f"HTTP {wire.status}, but no embeddings", "NoEmbeddings", wire) from error
    if len(vectors) != len(texts):
        raise failed("bad_answer", f"{len(vectors)} embeddings for {len(texts)} texts", "NoEmbeddings", wire)
    counted = replace(usage(answered.get("usage"), "prompt", "completion"), output_tokens=0)
    return Answer(json.dumps(vectors), usage=counted, model_returned=str(answered.get("model") or "") or None)


def _refused(wire: Wire) -> Exception:
    failure = from_status(wire, "HTTPStatusError")
    return failed(failure.cause, failure.message, failure.error_type, wire)
