"""Everything about an Ollama server except chat: its models, loading and unloading, and pulling a model."""

from __future__ import annotations

import contextlib
import datetime as dt
import json
import math
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from agents.errors import ModelCallError
from agents.llms.model_use import InitialState, ModelUse
from agents.llms.provider import DEFAULT_CONTEXT_TOKENS, ModelReport, ServerReport, Warmth
from agents.types import Model, Server
from domain import addresses

URL = "http://127.0.0.1:11434"
_TIMEOUT_S = 4.0
_LOAD_TIMEOUT_S = 900.0
_PULL_TIMEOUT_S = 300.0
"""The longest silence within a pull, which normally reports every few seconds."""
KEEP_ALIVE = "30m"
KEEP_ALIVE_S = 1800
"""The same in seconds: longer than any pause within an arm; after a crash the model is unloaded eventually."""
LOAD_PARAMETERS = {"truncate": False, "shift": False}
"""Sent with every request that can load a model: from 0.30 on, another `shift` than that of the loaded model loads it again."""
_SAME_EXPIRY_S = 5.0
"""Tolerance for the clocks of two machines."""
_UNLIMITED = dt.timedelta(days=365)
"""keep_alive -1 is reported as an expiry several centuries ahead."""


@dataclass(frozen=True)
class ModelDetails:
    """What the server reports about one model."""

    digest: str | None = None
    quantisation: str | None = None
    capabilities: tuple[str, ...] = ()
    context_length: int | None = None
    """The context that the model was trained for, in tokens."""
    parameters: Mapping[str, float] = field(default_factory=dict)
    """Numbers that its Modelfile sets as PARAMETER."""


class OllamaServer:
    """The REST API of one server, except /api/chat."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.url = address(server)
        self._http: Any = None
        self._uses: dict[tuple[str, int], ModelUse] = {}
        self._last_request: dict[str, float] = {}

    async def details(self, model: str) -> ModelDetails:
        """Digest, quantisation and capabilities; empty if the server does not answer (the request itself will fail)."""
        listed = _find_model((await self._get("/api/tags") or {}).get("models"), model)
        shown = await self._post("/api/show", {"model": model}) if listed else None
        return _details(listed or {}, shown or {})

    async def version(self) -> str | None:
        """The server's version, None if it does not answer."""
        return str((await self._get("/api/version") or {}).get("version") or "") or None

    async def loaded(self, model: str) -> Mapping[str, Any] | None:
        """The model's entry in /api/ps, or None while it is not loaded."""
        return _find_model((await self._get("/api/ps") or {}).get("models"), model)

    def request_ended(self, model: str) -> None:
        """Note that a request to the model has ended now."""
        self._last_request[model] = time.time()

    async def warm(self, model: str, num_ctx: int) -> Warmth:
        """Load a model without prompting it. The state before is that before all runs that use it now."""

        async def observe() -> InitialState:
            entry = await self.loaded(model)
            return InitialState(entry is not None, _remaining_s(entry) if entry else None)

        use = self._uses[model, num_ctx] = ModelUse(self.url, model)
        before = await use.begin(observe)
        started = time.perf_counter()
        await self._post("/api/generate", _load_body(model, num_ctx, KEEP_ALIVE), _LOAD_TIMEOUT_S)
        load_s = time.perf_counter() - started
        self.request_ended(model)
        after = await self.loaded(model) or {}
        return Warmth(
            load_s=load_s,
            was_loaded=before.was_loaded,
            keep_alive=before.keep_alive,
            context_window=after.get("context_length"),
            size_bytes=after.get("size"),
            size_vram_bytes=after.get("size_vram"),
        )

    async def release(self, model: str, num_ctx: int, before: Warmth) -> None:
        """Unload a model that was not loaded before `warm`; restore the keep-alive of one that was.

        A model that others use stays as it is: another run, another program, or one on another machine.
        """
        use = self._uses.pop((model, num_ctx), None) or ModelUse(self.url, model)
        try:
            if use.is_last() and not await self._is_used_elsewhere(model, use):
                keep_alive = before.keep_alive if before.was_loaded and before.keep_alive is not None else 0
                await self._post("/api/generate", _load_body(model, num_ctx, keep_alive), _LOAD_TIMEOUT_S)
        finally:
            use.end(self._last_request.get(model, 0.0))

    async def _is_used_elsewhere(self, model: str, use: ModelUse) -> bool:
        """Whether the model expires at another time than after the last request of this machine."""
        entry = await self.loaded(model)
        last_request = max(self._last_request.get(model, 0.0), use.last_request())
        return entry is not None and abs(_expires_at(entry) - last_request - KEEP_ALIVE_S) > _SAME_EXPIRY_S

    async def probe(self, models: Sequence[Model]) -> ServerReport:
        name, version = self.server.name, await self._get("/api/version")
        if version is None:
            return ServerReport(name, False, problem=f"no Ollama answers at {self.url}", fix="start it: `ollama serve`")
        tags = (await self._get("/api/tags") or {}).get("models")
        running = (await self._get("/api/ps") or {}).get("models")
        reports = {model.alias: await self._report(model, tags, running) for model in models}
        return ServerReport(name, True, version.get("version"), models=reports)

    async def aclose(self) -> None:
        for (model, _), use in self._uses.items():
            use.end(self._last_request.get(model, 0.0))
        self._uses.clear()
        if self._http is not None:
            await self._http.aclose()

    async def _report(self, model: Model, tags: Any, running: Any) -> ModelReport:
        listed = _find_model(tags, model.name)
        if listed is None:
            problem = f"{self.url} has no model {model.name!r}"
            return ModelReport(model.name, False, problem, f"ollama pull {model.name}")
        details = _details(listed, await self._post("/api/show", {"model": model.name}) or {})
        loaded = _find_model(running, model.name) or {}
        problem_or_none, fix = _unsupported_params(model, details)
        return ModelReport(
            model.name,
            True,
            problem_or_none,
            fix,
            details.digest,
            details.quantisation,
            details.context_length,
            details.capabilities,
            loaded.get("size"),
            loaded.get("size_vram"),
        )

    async def _get(self, path: str) -> dict[str, Any] | None:
        return await self._request("GET", path, None, _TIMEOUT_S)

    async def _post(self, path: str, body: Mapping[str, Any], timeout_s: float = _TIMEOUT_S) -> dict[str, Any] | None:
        return await self._request("POST", path, body, timeout_s)

    async def _request(self, method: str, path: str, body: Mapping[str, Any] | None, timeout_s: float) -> dict[str, Any] | None:
        """The JSON object of the response, or None for anything else."""
        import httpx

        self._http = self._http or httpx.AsyncClient(trust_env=False, verify=self.url.startswith("https:"))
        try:
            response = await self._http.request(method, self.url + path, json=body, timeout=timeout_s)
            document = response.json() if response.status_code == 200 else None
        except (httpx.HTTPError, ValueError):
            return None
        return document if isinstance(document, dict) else None


async def pull(server: Server, model: str) -> AsyncIterator[str]:
    """Yield the server's status lines until the model is there. Raises ModelCallError if it cannot be pulled.

    Only a user's command pulls: never a preflight or a run.
    """
    import httpx

    url = address(server)
    try:
        async with (
            httpx.AsyncClient(trust_env=False, timeout=_PULL_TIMEOUT_S) as client,
            client.stream("POST", f"{url}/api/pull", json={"model": model}) as response,
        ):
            async for line in response.aiter_lines():
                yield _pull_status(line, model, url)
        if response.is_error:
            raise ModelCallError(f"{url} could not pull {model}: HTTP {response.status_code}", cause="not_found")
    except httpx.HTTPError as error:
        raise ModelCallError(f"{url} could not pull {model}: {error}", cause="connection") from error


def _pull_status(line: str, model: str, url: str) -> str:
    try:
        status = dict(json.loads(line)) if line.strip() else {}
    except (ValueError, TypeError) as error:
        raise ModelCallError(
            f"{url} does not answer /api/pull with JSON, so it is not an Ollama server: {line[:80]!r}", cause="bad_answer"
        ) from error
    if "error" in status:
        raise ModelCallError(f"{url} could not pull {model}: {status['error']}", cause="not_found")
    done, total = status.get("completed"), status.get("total")
    return f"{status.get('status', '')}" + (f" {100 * done // total} %" if done and total else "")


def address(server: Server) -> str:
    """The address to use: always explicit, so that OLLAMA_HOST has no effect."""
    return addresses.ollama_url(server.url or URL)


def _find_model(models: Any, name: str) -> Mapping[str, Any] | None:
    """The entry of one model; `llama3` means `llama3:latest`."""
    names = {name, f"{name}:latest"}
    entries = models if isinstance(models, list) else []
    return next((e for e in entries if isinstance(e, Mapping) and {e.get("name"), e.get("model")} & names), None)


def _details(listed: Mapping[str, Any], shown: Mapping[str, Any]) -> ModelDetails:
    details = shown.get("details") or listed.get("details") or {}
    lengths = [value for key, value in (shown.get("model_info") or {}).items() if key.endswith(".context_length")]
    return ModelDetails(
        digest=listed.get("digest"),
        quantisation=details.get("quantization_level"),
        capabilities=tuple(shown.get("capabilities") or ()),
        context_length=next((value for value in lengths if isinstance(value, int)), None),
        parameters=dict(_numbers(str(shown.get("parameters") or ""))),
    )


def _numbers(parameters: str) -> Iterator[tuple[str, float]]:
    """The numbers among the lines `NAME   VALUE` of a model's parameters."""
    for line in parameters.splitlines():
        name, _, value = line.strip().partition(" ")
        with contextlib.suppress(ValueError):
            yield name, float(value)


def _unsupported_params(model: Model, details: ModelDetails) -> tuple[str | None, str | None]:
    """The parameter that the model does not support and its fix, or two Nones."""
    num_ctx = model.params.get("num_ctx") or DEFAULT_CONTEXT_TOKENS
    if details.context_length and num_ctx > details.context_length:
        problem = f"num_ctx {num_ctx} is more than the {details.context_length} that {model.name} was trained for"
        return problem, f"set num_ctx of {model.alias!r} to at most {details.context_length}"
    if model.params.get("think") and details.capabilities and "thinking" not in details.capabilities:
        return f"{model.name} cannot think", f"remove `think` from model {model.alias!r}"
    return None, None


def _load_body(model: str, num_ctx: int, keep_alive: int | str) -> dict[str, Any]:
    """With the same load parameters as the calls, or the model would be loaded twice."""
    body = {"model": model, "keep_alive": keep_alive, "stream": False, "options": {"num_ctx": num_ctx}}
    return body | LOAD_PARAMETERS


def _expires_at(entry: Mapping[str, Any]) -> float:
    """Unix time at which a loaded model expires, infinity for an unreadable one."""
    try:
        return dt.datetime.fromisoformat(str(entry.get("expires_at"))).timestamp()
    except (ValueError, OverflowError):
        return math.inf


def _remaining_s(entry: Mapping[str, Any]) -> int:
    """Seconds until a loaded model expires; -1 for no limit."""
    try:
        remaining = dt.datetime.fromisoformat(str(entry.get("expires_at"))) - dt.datetime.now(dt.UTC)
    except (ValueError, TypeError):
        return 300
    return -1 if remaining > _UNLIMITED or remaining < -_UNLIMITED else max(1, round(remaining.total_seconds()))
