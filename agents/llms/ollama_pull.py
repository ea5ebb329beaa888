"""Pulling a model onto an Ollama server: only ever on demand, never by a preflight or a run."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator

from agents.contract.lineup import Server
from agents.errors import ModelCallError
from agents.llms.ollama_server import address

_SILENCE_S = 300.0
"""A pull says something every few seconds; a server that is silent for so long is gone."""


async def pull(server: Server, model: str) -> AsyncIterator[str]:
    """The server's status lines until the model is there. Raises ModelCallError when it cannot be pulled."""
    import httpx

    url = address(server)
    try:
        async with (
            httpx.AsyncClient(trust_env=False, timeout=_SILENCE_S) as client,
            client.stream("POST", f"{url}/api/pull", json={"model": model}) as answer,
        ):
            async for line in answer.aiter_lines():
                yield _status(line, model, url)
        if answer.is_error:
            raise ModelCallError(f"{url} could not pull {model}: HTTP {answer.status_code}", cause="not_found")
    except httpx.HTTPError as error:
        raise ModelCallError(f"{url} could not pull {model}: {error}", cause="connection") from error


def _status(line: str, model: str, url: str) -> str:
    try:
        told = dict(json.loads(line)) if line.strip() else {}
    except (ValueError, TypeError) as error:
        raise ModelCallError(
            f"{url} answers /api/pull with no JSON, so it is no Ollama: {line[:80]!r}", cause="bad_answer"
        ) from error
    if "error" in told:
        raise ModelCallError(f"{url} could not pull {model}: {told['error']}", cause="not_found")
    done, total = told.get("completed"), told.get("total")
    return f"{told.get('status', '')}" + (f" {100 * done // total} %" if done and total else "")
