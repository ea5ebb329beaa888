"""The price of one call: public prices by returned model and tier, a price file of your own, or local hardware time."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

from agents import Call, Failure, Request, WorstCase
from domain.hardware import Hardware
from domain.usage import Usage
from harness.money import local_cost, public_prices
from harness.money.price_file import PriceFile
from harness.money.public_prices import Tokens

STANDARD_TIERS = frozenset({"default", "standard", "auto", "on_demand", ""})
REJECTED = frozenset(
    {"rate_limited", "capacity", "quota", "server_error", "bad_request", "too_long", "auth", "not_found", "unsupported"}
)
"""Causes with which the server refused the request: nothing was computed, nothing is billed. Not so behind HTTP 200, where
a response broke that had begun."""
CHARACTERS_PER_TOKEN = 3.0
"""Fewer characters per token than real texts have, so that an estimate errs upwards."""


class Place(Protocol):
    """What pricing must know of a server; harness.servers.ServerSpec has it."""

    @property
    def name(self) -> str: ...
    @property
    def provider(self) -> str: ...
    @property
    def url(self) -> str | None: ...
    @property
    def is_hosted(self) -> bool: ...
    @property
    def hardware(self) -> Hardware: ...


@dataclass(frozen=True)
class Priced:
    """What a call costs; None is unknown, never nothing."""

    cost_usd: float | None
    cost_basis: str
    """api_price | gpu_time | cpu_time | energy | estimate | unknown."""
    price_version: str | None = None
    cold_usd: float | None = None
    """What it would have cost if no cache had been warm; None where that is unknown."""


UNKNOWN = Priced(None, "unknown")


@dataclass(frozen=True)
class PriceTable:
    """The public prices as installed, under a price file of your own."""

    own: PriceFile | None = None
    as_of: dt.datetime | None = None
    """Price every call as if it were sent then; at its own time where this is None."""
    opened: dt.date = field(default_factory=lambda: dt.datetime.now(dt.UTC).date())

    @property
    def version(self) -> str:
        public = f"genai-prices {public_prices.installed()[0]}"
        return f"{public} + {self.own.version}" if self.own else public

    def manifest(self) -> dict[str, Any]:
        """Version, date and hash, as the run's manifest keeps them."""
        version, sha = public_prices.installed()
        own = {"version": self.own.version, "sha256": self.own.sha256} if self.own else None
        as_of = self.as_of.isoformat() if self.as_of else None
        date = self.opened.isoformat()
        return {"version": version, "package": "genai-prices", "sha256": sha, "date": date, "as_of": as_of, "own": own}

    def to_plain(self) -> dict[str, Any]:
        """What another process needs to price alike."""
        own = self.own.model_dump(mode="json", by_alias=True) if self.own else None
        return {"own": own, "as_of": self.as_of.isoformat() if self.as_of else None, "opened": self.opened.isoformat()}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> PriceTable:
        own = PriceFile.model_validate(plain["own"]) if plain.get("own") else None
        as_of = dt.datetime.fromisoformat(plain["as_of"]) if plain.get("as_of") else None
        return cls(own, as_of, dt.date.fromisoformat(plain["opened"]))

    def usd(self, model: str, server: Place, tier: str | None, tokens: Tokens, when: dt.datetime) -> float | None:
        """Price of tokens at a hosted server; None where no table knows model and tier.

        Raises ValueError when the parts of the usage exceed the whole."""
        when, tier = self.as_of or when, _tier(tier)
        if min(tokens.input, tokens.output, tokens.cached, tokens.cache_write) < 0:
            raise ValueError("token counts below zero")
        if tokens.cached + tokens.cache_write > tokens.input:
            raise ValueError("more cached than input tokens")
        line = self.own.find(model, server.name, tier, when.date()) if self.own else None
        if line:
            return line.usd(tokens.input, tokens.cached, tokens.cache_write, tokens.output)
        return public_prices.usd(model, server.provider, server.url, tier, tokens, when)


def price(call: Call, server: Place, table: PriceTable) -> Priced:
    """What a call costs: hosted by tokens, local by the time of its hardware. Unknown is None, never 0."""
    if not server.is_hosted:
        return _local(call, server)
    if call.answer is None:
        return Priced(0.0, "api_price", table.version, 0.0) if _is_rejected(call.failure) else _unseen(call, server, table)
    usage = call.answer.usage
    if usage.input_tokens is None or usage.output_tokens is None:
        return _unseen(call, server, table)
    return _answered(call, server, table, usage)


def worst_case_usd(request: Request, worst_case: WorstCase, server: Place, table: PriceTable) -> float | None:
    """The most a request can cost at a hosted server: nothing cached, the whole output used; 0 at a local one, which
    sends no bill. None where the price is unknown."""
    if not server.is_hosted:
        return 0.0
    tokens = Tokens(worst_case.input_tokens, worst_case.output_tokens)
    written = Tokens(worst_case.input_tokens, worst_case.output_tokens, cache_write=worst_case.input_tokens)
    tier = request.model.params.get("service_tier")
    now = dt.datetime.now(dt.UTC)
    costs = [table.usd(request.model.name, server, one, each, now) for one in {tier, None} for each in (tokens, written)]
    known = [cost for cost in costs if cost is not None]
    return max(known, default=None)


def estimate(request: Request, tokens: Tokens, server: Place, table: PriceTable, when: dt.datetime) -> Priced:
    """The flagged price of a request whose usage nobody told (killed, cut, timed out)."""
    cost = table.usd(request.model.name, server, request.model.params.get("service_tier"), tokens, when)
    return UNKNOWN if cost is None else Priced(cost, "estimate", table.version, cost)


def _is_rejected(failure: Failure | None) -> bool:
    return failure is not None and failure.cause in REJECTED and failure.http_status != 200


def _answered(call: Call, server: Place, table: PriceTable, usage: Usage) -> Priced:
    assert call.answer is not None
    tier = call.answer.service_tier or call.request.model.params.get("service_tier")
    when = dt.datetime.fromtimestamp(call.timing.started_at, dt.UTC)
    whole = Tokens(usage.input_tokens or 0, usage.output_tokens or 0)
    parts = Tokens(whole.input, whole.output, usage.cached_tokens or 0, usage.cache_write_tokens or 0)
    returned = call.answer.model_returned or call.request.model.name
    try:
        cost = table.usd(returned, server, tier, parts, when)
    except ValueError:
        # The parts contradict the whole: bill the whole at full price, and say that it is not sure.
        honest = Tokens(max(0, whole.input), max(0, whole.output))
        return estimate(call.request, honest, server, table, when)
    if cost is not None:
        cold = cost if parts.cached == parts.cache_write == 0 else table.usd(returned, server, tier, whole, when)
        return Priced(cost, "api_price", table.version, cold)
    return estimate(call.request, parts, server, table, when) if returned != call.request.model.name else UNKNOWN


def _unseen(call: Call, server: Place, table: PriceTable) -> Priced:
    """A call that may have been computed although nobody told its usage: the whole prompt and the whole allowed output."""
    text = sum(len(part.text) for part in call.request.parts)
    answered = len(call.answer.text) / CHARACTERS_PER_TOKEN if call.answer else None
    cap = call.request.max_output_tokens or int(call.request.model.params.get("max_output_tokens") or 4000)
    tokens = Tokens(int(text / CHARACTERS_PER_TOKEN) + 1, cap if answered is None else min(cap, int(answered) + 1))
    return estimate(call.request, tokens, server, table, dt.datetime.fromtimestamp(call.timing.started_at, dt.UTC))


def _local(call: Call, server: Place) -> Priced:
    seconds = local_cost.busy_s(call.timing)
    basis = local_cost.basis(server.hardware)
    if basis == "unknown" or (seconds is None and call.timing.duration_s is None):
        return UNKNOWN
    if seconds is None:
        cost = local_cost.usd(call.timing.duration_s or 0.0, server.hardware)
        return Priced(cost, "estimate", "local")
    return Priced(local_cost.usd(seconds, server.hardware), basis, "local")


def _tier(tier: str | None) -> str:
    return "default" if (tier or "") in STANDARD_TIERS else str(tier)
