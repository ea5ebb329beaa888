"""What an Ollama server tells beside answers: its models, what is loaded, and for how long."""

from __future__ import annotations

import datetime as dt
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agents.contract.lineup import Model, Server
from agents.llms.provider import DEFAULT_CONTEXT_TOKENS, ModelReport, ServerReport, Warmth

URL = "http://127.0.0.1:11434"
_TIMEOUT_S = 4.0
_LOAD_TIMEOUT_S = 900.0
_FOR_EVER = dt.timedelta(days=365)
"""keep_alive -1 shows up as an expiry some centuries ahead."""


@dataclass(frozen=True)
class Told:
    """What the server says about one model."""

    digest: str | None = None
    quantisation: str | None = None
    capabilities: tuple[str, ...] = ()
    context_length: int | None = None
    """What the model was trained for."""


class OllamaServer:
    """The REST face of one server; everything but /api/chat."""

    def __init__(self, server: Server) -> None:
        self.server = server
        self.url = address(server)
        self._http: Any = None

    async def told(self, model: str) -> Told:
        """Digest, quantisation, capabilities; empty where the server cannot be asked, the request itself will say why."""
        listed = _named((await self._get("/api/tags") or {}).get("models"), model)
        shown = await self._post("/api/show", {"model": model}) if listed else None
        return _told(listed or {}, shown or {})

    async def effective_context(self, model: str) -> int | None:
        """The context size that the model is loaded with now."""
        length = (await self.loaded(model) or {}).get("context_length")
        return length if isinstance(length, int) and length > 0 else None

    async def loaded(self, model: str) -> Mapping[str, Any] | None:
        """The model's line in /api/ps, None while it is not loaded."""
        return _named((await self._get("/api/ps") or {}).get("models"), model)

    async def warm(self, model: str, num_ctx: int, keep_alive: int | str) -> Warmth:
        """Load a model without asking it anything."""
        before = await self.loaded(model)
        started = time.perf_counter()
        await self._post("/api/generate", _load(model, num_ctx, keep_alive), _LOAD_TIMEOUT_S)
        load_s = time.perf_counter() - started
        after = await self.loaded(model) or {}
        return Warmth(
            load_s=load_s,
            was_loaded=before is not None,
            keep_alive=_remaining(before) if before else None,
            context_window=after.get("context_length"),
            size_bytes=after.get("size"),
            size_vram_bytes=after.get("size_vram"),
        )

    async def release(self, model: str, num_ctx: int, before: Warmth) -> None:
        """Unload what was not loaded before; give back its own keep-alive to what was."""
        keep_alive = before.keep_alive if before.was_loaded and before.keep_alive is not None else 0
        await self._post("/api/generate", _load(model, num_ctx, keep_alive), _LOAD_TIMEOUT_S)

    async def probe(self, models: Sequence[Model]) -> ServerReport:
        name, version = self.server.name, await self._get("/api/version")
        if version is None:
            return ServerReport(name, False, problem=f"no Ollama answers at {self.url}", mend="start it: `ollama serve`")
        tags = (await self._get("/api/tags") or {}).get("models")
        running = (await self._get("/api/ps") or {}).get("models")
        reports = {model.alias: await self._report(model, tags, running) for model in models}
        return ServerReport(name, True, version.get("version"), models=reports)

    async def aclose(self) -> None:
        if self._http is not None:
            await self._http.aclose()

    async def _report(self, model: Model, tags: Any, running: Any) -> ModelReport:
        listed = _named(tags, model.name)
        if listed is None:
            problem = f"{self.url} has no model {model.name!r}"
            return ModelReport(model.name, False, problem, f"ollama pull {model.name}")
        told = _told(listed, await self._post("/api/show", {"model": model.name}) or {})
        loaded = _named(running, model.name) or {}
        misfit, mend = _misfit(model, told)
        return ModelReport(
            model.name,
            True,
            misfit,
            mend,
            told.digest,
            told.quantisation,
            told.context_length,
            told.capabilities,
            loaded.get("size"),
            loaded.get("size_vram"),
        )

    async def _get(self, path: str) -> dict[str, Any] | None:
        return await self._ask("GET", path, None, _TIMEOUT_S)

    async def _post(self, path: str, body: Mapping[str, Any], timeout_s: float = _TIMEOUT_S) -> dict[str, Any] | None:
        return await self._ask("POST", path, body, timeout_s)

    async def _ask(self, method: str, path: str, body: Mapping[str, Any] | None, timeout_s: float) -> dict[str, Any] | None:
        """The answer's JSON object, or None for anything else."""
        import httpx

        self._http = self._http or httpx.AsyncClient(trust_env=False, verify=self.url.startswith("https:"))
        try:
            answer = await self._http.request(method, self.url + path, json=body, timeout=timeout_s)
            told = answer.json() if answer.status_code == 200 else None
        except (httpx.HTTPError, ValueError):
            return None
        return told if isinstance(told, dict) else None


def address(server: Server) -> str:
    """The address to use, always explicit so that OLLAMA_HOST never matters here."""
    url = (server.url or URL).rstrip("/")
    return url if "://" in url else f"http://{url}"


def _named(models: Any, name: str) -> Mapping[str, Any] | None:
    """The line of one model; `llama3` means `llama3:latest`."""
    wanted = {name, f"{name}:latest"}
    lines = models if isinstance(models, list) else []
    return next((line for line in lines if isinstance(line, Mapping) and {line.get("name"), line.get("model")} & wanted), None)


def _told(listed: Mapping[str, Any], shown: Mapping[str, Any]) -> Told:
    details = shown.get("details") or listed.get("details") or {}
    lengths = [value for key, value in (shown.get("model_info") or {}).items() if key.endswith(".context_length")]
    return Told(
        digest=listed.get("digest"),
        quantisation=details.get("quantization_level"),
        capabilities=tuple(shown.get("capabilities") or ()),
        context_length=next((value for value in lengths if isinstance(value, int)), None),
    )


def _misfit(model: Model, told: Told) -> tuple[str | None, str | None]:
    """What a model cannot do of what is asked of it, and the mend."""
    num_ctx = model.params.get("num_ctx") or DEFAULT_CONTEXT_TOKENS
    if told.context_length and num_ctx > told.context_length:
        problem = f"num_ctx {num_ctx} is more than the {told.context_length} that {model.name} was trained for"
        return problem, f"set num_ctx of {model.alias!r} to at most {told.context_length}"
    if model.params.get("think") and told.capabilities and "thinking" not in told.capabilities:
        return f"{model.name} cannot think", f"remove `think` from model {model.alias!r}"
    return None, None


def _load(model: str, num_ctx: int, keep_alive: int | str) -> dict[str, Any]:
    """The same num_ctx as the calls, or the model would be loaded twice."""
    return {"model": model, "keep_alive": keep_alive, "stream": False, "options": {"num_ctx": num_ctx}}


def _remaining(line: Mapping[str, Any]) -> int:
    """Seconds that a loaded model still had, -1 for ever."""
    try:
        left = dt.datetime.fromisoformat(str(line.get("expires_at"))) - dt.datetime.now(dt.UTC)
    except (ValueError, TypeError):
        return 300
    return -1 if left > _FOR_EVER or left < -_FOR_EVER else max(1, round(left.total_seconds()))
