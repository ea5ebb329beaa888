"""What a server of the OpenAI API reports: its models, its software and when its models shut down."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agents.llms.hosted import PROBE_TIMEOUT_S
from agents.llms.provider import ModelReport, ServerReport
from agents.types import Model, Server
from domain.providers import PROVIDERS


async def probe(server: Server, url: str, models: Sequence[Model]) -> ServerReport:
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
