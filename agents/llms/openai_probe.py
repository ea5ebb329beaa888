"""What an OpenAI-compatible server says about itself and its models."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from agents.contract.lineup import Model, Server
from agents.llms.provider import ModelReport, ServerReport

_TIMEOUT_S = 4.0


async def probe_models(server: Server, url: str, models: Sequence[Model]) -> ServerReport:
    """Asks /models, which costs nothing; a server without that path counts as reachable."""
    import httpx

    if server.provider == "openai" and not server.api_key and not server.url:
        return ServerReport(
            server.name, False, problem="no OPENAI_API_KEY", mend="set OPENAI_API_KEY in .env beside the experiment"
        )
    headers = {"authorization": f"Bearer {server.api_key or 'none'}"}
    try:
        async with httpx.AsyncClient(timeout=_TIMEOUT_S) as client:
            response = await client.get(f"{url}/models", headers=headers)
    except httpx.HTTPError as error:
        return ServerReport(server.name, False, problem=f"{url} does not answer ({type(error).__name__})", mend=_mend(server))
    if response.status_code in (401, 403):
        return ServerReport(
            server.name, True, problem=f"{url} refuses the key (HTTP {response.status_code})", mend=_key(server)
        )
    known = _known(response)
    return ServerReport(server.name, True, models={model.alias: _model(model, known, url) for model in models})


def _known(response: Any) -> dict[str, Any] | None:
    """Model id -> what is told about it; None where the server does not list its models."""
    try:
        listed = response.json()["data"] if response.status_code == 200 else None
        return {str(one["id"]): one for one in listed} if listed is not None else None
    except (ValueError, KeyError, TypeError):
        return None


def _model(model: Model, known: dict[str, Any] | None, url: str) -> ModelReport:
    problem, mend = _misfit(model)
    if known is None:
        return ModelReport(model.name, True, problem, mend)
    if model.name not in known:
        names = ", ".join(sorted(known)[:12]) or "none"
        mend = f"name one that {url}/models lists: {names}"
        return ModelReport(model.name, False, f"{url} has no model {model.name!r}", mend)
    told = known[model.name]
    length = told.get("max_model_len") or (told.get("meta") or {}).get("n_ctx")
    return ModelReport(model.name, True, problem, mend, context_length=length if isinstance(length, int) else None)


def _misfit(model: Model) -> tuple[str | None, str | None]:
    """Sampling that a model of OpenAI's refuses while it reasons: the client would drop it silently, or every call be a 400."""
    effort = model.params.get("reasoning_effort")
    said = [name for name in ("temperature", "top_p") if model.params.get(name) not in (None, 1)]
    if model.provider != "openai" or not said or effort in (None, "none"):
        return None, None
    mend = f"remove it from model {model.alias!r}; GPT-5.1 and later take it with reasoning_effort: none"
    return f"{model.name} takes no {' and no '.join(said)} while it reasons (reasoning_effort: {effort})", mend


def _mend(server: Server) -> str:
    if server.provider == "openai" and not server.url:
        return "check the network, or a proxy in HTTPS_PROXY"
    return f"start the server, or correct the url of {server.name!r} in servers.yaml"


def _key(server: Server) -> str:
    return "set a valid OPENAI_API_KEY" if server.provider == "openai" else f"set a valid key for {server.name!r}"
