"""The public price table as installed (genai-prices): by returned model, address, tier and day."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from domain.providers import PROVIDERS


@dataclass(frozen=True)
class Tokens:
    """What one call used; input includes cache reads and writes, output includes reasoning."""

    input: int
    output: int
    cached: int = 0
    cache_write: int = 0


def preload() -> None:
    """Read the table now, and not when the first request waits for its price."""
    _snapshot()


def usd(model: str, provider: str, url: str | None, tier: str, tokens: Tokens, when: dt.datetime) -> float | None:
    """Price of tokens by model, address and tier on a day; None where the table does not know one of them."""
    from genai_prices import Usage as PublicUsage

    found = _find(model, provider, url)
    if found is None:
        return None
    seller, info = found
    context = {"processing": "batch"} if tier == "batch" else {"service_tier": tier}
    if tier != "default" and not _has_tier(info, context, when):
        return None
    usage = PublicUsage(
        input_tokens=tokens.input,
        output_tokens=tokens.output,
        cache_read_tokens=tokens.cached,
        cache_write_tokens=tokens.cache_write,
        # Said in full: what is left out is inferred anew for every call, which costs a third of the time.
        web_searches=0,
        storage_searches=0,
    )
    return float(info.calc_price(usage, seller, genai_request_timestamp=when, price_context=context).total_price)


def _has_tier(info: Any, context: Mapping[str, str], when: dt.datetime) -> bool:
    """Whether the table prices this tier on that day; it would silently take the standard rates otherwise."""
    return any(
        dict(variant.when) == dict(context) and (variant.constraint is None or variant.constraint.active(when))
        for variant in info.price_variants or ()
    )


@cache
def _find(model: str, provider: str, url: str | None) -> tuple[Any, Any] | None:
    """Provider by address, so that one alias at two providers has two prices; a gateway of one's own has OpenAI's."""
    snapshot = _snapshot()
    for asked in (
        {"provider_api_url": url, "provider_id": None},
        {"provider_api_url": None, "provider_id": _price_list(provider)},
    ):
        try:
            pair: tuple[Any, Any] = snapshot.find_provider_model(model, None, asked["provider_id"], asked["provider_api_url"])
            return pair
        except LookupError:
            if _is_known_address(snapshot, asked["provider_api_url"]):
                return None
    return None


def models_of(provider: str) -> frozenset[str]:
    """Names of the models that a provider's public list prices."""
    sellers = [seller for seller in _snapshot().providers if seller.id == _price_list(provider)]
    return frozenset(model.id for seller in sellers for model in seller.models)


def _price_list(provider: str) -> str:
    """Whose list applies; a run of another version may name a provider that is unknown here."""
    return PROVIDERS[provider].price_list if provider in PROVIDERS else provider


def _snapshot() -> Any:
    from genai_prices.data_snapshot import get_snapshot

    return get_snapshot()


def _is_known_address(snapshot: Any, url: str | None) -> bool:
    try:
        return url is not None and snapshot.find_provider(None, None, url) is not None
    except LookupError:
        return False


@cache
def installed() -> tuple[str, str]:
    """Version and sha256 of the installed price data."""
    from hashlib import sha256
    from importlib.metadata import version
    from importlib.util import find_spec
    from pathlib import Path

    origin = find_spec("genai_prices.data")
    assert origin is not None
    assert origin.origin is not None
    return version("genai-prices"), sha256(Path(origin.origin).read_bytes()).hexdigest()
