"""What a call costs: public or own prices for hosted models, hardware prices for self-hosted ones."""

from __future__ import annotations

import datetime as dt
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from agents import Call, Failure, Request, Timing, WorstCase
from domain.hardware import Hardware
from domain.lanes import LANES, price_tier
from domain.providers import PROVIDERS
from domain.usage import Usage
from harness.errors import InvalidInput, Problem
from harness.experiment.yaml_file import closest_name
from harness.money.price_file import PriceFile
from harness.money.price_file import load as load_price_file

if TYPE_CHECKING:
    from harness.experiment.spec import Experiment


@dataclass(frozen=True)
class Tokens:
    """What one call used; input includes cache reads and writes, output includes reasoning."""

    input: int
    output: int
    cached: int = 0
    cache_write: int = 0


def preload_prices() -> None:
    """Read the table now, and not when the first request waits for its price."""
    _snapshot()


def public_usd(model: str, provider: str, url: str | None, tier: str, tokens: Tokens, when: dt.datetime) -> float | None:
    """Price of tokens by model, address and tier on a day; None where the table does not know one of them."""
    from genai_prices import Usage as PublicUsage

    public_price = _find(model, provider, url)
    if public_price is None:
        return None
    seller, info = public_price
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
    for candidate in (
        {"provider_api_url": url, "provider_id": None},
        {"provider_api_url": None, "provider_id": _price_list(provider)},
    ):
        try:
            pair: tuple[Any, Any] = snapshot.find_provider_model(
                model, None, candidate["provider_id"], candidate["provider_api_url"]
            )
            return pair
        except LookupError:
            if _is_known_address(snapshot, candidate["provider_api_url"]):
                return None
    return None


def public_models(provider: str) -> frozenset[str]:
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
def installed_prices() -> tuple[str, str]:
    """Version and sha256 of the installed price data."""
    from hashlib import sha256
    from importlib.metadata import version
    from importlib.util import find_spec
    from pathlib import Path

    origin = find_spec("genai_prices.data")
    assert origin is not None
    assert origin.origin is not None
    return version("genai-prices"), sha256(Path(origin.origin).read_bytes()).hexdigest()


def busy_s(timing: Timing) -> float | None:
    """Seconds of computing that a server reports for a call: load, prefill and decode; None if unknown."""
    if timing.prefill_s is None and timing.decode_s is None:
        return None
    return sum(part for part in (timing.load_s, timing.prefill_s, timing.decode_s) if part is not None)


def machine_s(timing: Timing, hardware: Hardware) -> float | None:
    """Seconds of its machine that a call used; None if its server reports none.

    With one request at a time that is the duration, which leaves out waiting for the slot: a server's own seconds lack
    sampling and the start of the prompt (Ollama 0.17: up to a third of the duration). With several at a time the duration
    may contain waiting inside the server, so its own seconds are the best there is: a lower bound.
    """
    reported_s = busy_s(timing)
    if reported_s is None or hardware.slots > 1 or timing.duration_s is None:
        return reported_s
    return max(reported_s, timing.duration_s)


def local_basis(hardware: Hardware) -> str:
    """gpu_time, cpu_time, energy or unknown: the first of rental price and energy price that is known."""
    if hardware.usd_per_hour is not None:
        return f"{hardware.device}_time"
    return "unknown" if hardware.energy_usd_per_s is None else "energy"


def local_usd(seconds: float, hardware: Hardware) -> float | None:
    """Price of seconds of hardware, by its basis; None if unknown.

    A worker prices each call whole, because it does not know which others the machine answers meanwhile; the derived
    tables give each its share of the machine's time (see harness.storage.machine_cost)."""
    return hardware.usd(seconds)


STANDARD_TIERS = frozenset({"default", "standard", "auto", "on_demand", ""})
REJECTED = frozenset(
    {
        *("rate_limited", "capacity", "quota", "server_error", "bad_request", "too_long", "auth", "not_found", "unsupported"),
        *("expired", "cancelled"),
    }
)
"""Causes with which the server refused the request: nothing was computed, nothing is billed. Not so behind HTTP 200, where
a response broke that had begun."""
CHARACTERS_PER_TOKEN = 3.0
"""Fewer characters per token than real texts have, so that an estimate errs upwards."""


class PricedServer(Protocol):
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
    """api_price | provider (as its answer says) | gpu_time | cpu_time | energy | estimate | unknown."""
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
    priced_as: Mapping[str, str] = field(default_factory=dict)
    """server/model, as requested -> the public model whose prices apply, for names of deployments."""
    most_usd: Mapping[str, float] = field(default_factory=dict)
    """server/model, as requested -> the most that one call may cost, as declared."""

    @property
    def version(self) -> str:
        public = f"genai-prices {installed_prices()[0]}"
        return f"{public} + {self.own.version}" if self.own else public

    def manifest(self) -> dict[str, Any]:
        """Version, date and hash, as the run's manifest keeps them."""
        version, sha = installed_prices()
        own_file = {"version": self.own.version, "sha256": self.own.sha256} if self.own else None
        as_of = self.as_of.isoformat() if self.as_of else None
        date = self.opened.isoformat()
        named = {"priced_as": dict(self.priced_as)} if self.priced_as else {}
        public = {"version": version, "package": "genai-prices", "sha256": sha, "date": date}
        return public | {"as_of": as_of, "own": own_file} | named

    def to_plain(self) -> dict[str, Any]:
        """What another process needs to price alike."""
        own_file = self.own.model_dump(mode="json", by_alias=True) if self.own else None
        dates = {"as_of": self.as_of.isoformat() if self.as_of else None, "opened": self.opened.isoformat()}
        return {"own": own_file} | dates | {"priced_as": dict(self.priced_as), "most_usd": dict(self.most_usd)}

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> PriceTable:
        own_file = PriceFile.model_validate(plain["own"]) if plain.get("own") else None
        as_of = dt.datetime.fromisoformat(plain["as_of"]) if plain.get("as_of") else None
        opened, named = dt.date.fromisoformat(plain["opened"]), plain.get("priced_as", {})
        return cls(own_file, as_of, opened, named, plain.get("most_usd", {}))

    def usd(self, model: str, server: PricedServer, tier: str | None, tokens: Tokens, when: dt.datetime) -> float | None:
        """Price of tokens at a hosted server; None where no table knows model and tier.

        Raises ValueError when the parts of the usage exceed the whole."""
        when, tier = self.as_of or when, _tier(tier)
        if min(tokens.input, tokens.output, tokens.cached, tokens.cache_write) < 0:
            raise ValueError("token counts below zero")
        if tokens.cached + tokens.cache_write > tokens.input:
            raise ValueError("more cached than input tokens")
        listed_usd = self._listed_usd(model, server, tier, tokens, when)
        if listed_usd is not None or not tier.startswith("background_"):
            return listed_usd
        # No table lists the background lanes: the provider declares them as a share of the standard price.
        standard_usd = self._listed_usd(model, server, "default", tokens, when)
        return None if standard_usd is None else standard_usd * LANES[tier].share

    def _listed_usd(self, model: str, server: PricedServer, tier: str, tokens: Tokens, when: dt.datetime) -> float | None:
        line = self.own.find(model, server.name, tier, when.date()) if self.own else None
        if line:
            return line.usd(tokens.input, tokens.cached, tokens.cache_write, tokens.output)
        named = self.priced_as.get(f"{server.name}/{model}")
        if named is None:
            return public_usd(model, server.provider, server.url, tier, tokens, when)
        line = self.own.find(named, server.name, tier, when.date()) if self.own else None
        if line:
            return line.usd(tokens.input, tokens.cached, tokens.cache_write, tokens.output)
        return public_usd(named, seller_of(named), None, tier, tokens, when)


def table_of(experiment: Experiment, experiment_dir: Path | None) -> PriceTable:
    """The public prices, under the experiment's own file if it names one. Raises InvalidInput."""
    priced_as, most_usd = _declared_prices(experiment)
    if experiment.prices is None:
        return PriceTable(priced_as=priced_as, most_usd=most_usd)
    path = Path(experiment.prices).expanduser()
    own = load_price_file(path if path.is_absolute() or experiment_dir is None else experiment_dir / path)
    return PriceTable(own, priced_as=priced_as, most_usd=most_usd)


def _declared_prices(experiment: Experiment) -> tuple[dict[str, str], dict[str, float]]:
    """server/model -> the public model that it is priced as, and the most that a call may cost. Raises InvalidInput."""
    models = {f"{model.server or model.provider}/{model.model}": (alias, model) for alias, model in experiment.models.items()}
    named = [model.priced_as for model in experiment.models.values() if model.priced_as]
    sellers = [seller for seller, provider in PROVIDERS.items() if provider.is_hosted and named]
    known = {name for seller in sellers for name in public_models(seller)}
    problems = [
        Problem(f"models.{alias}.priced_as", f"no public price of {model.priced_as!r}", closest_name(model.priced_as, known))
        for alias, model in models.values()
        if model.priced_as and model.priced_as not in known and experiment.prices is None
    ]
    if problems:
        raise InvalidInput(problems)
    priced_as = {key: model.priced_as for key, (_, model) in models.items() if model.priced_as}
    return priced_as, {key: model.max_call_usd for key, (_, model) in models.items() if model.max_call_usd is not None}


def seller_of(model: str) -> str:
    """The hosted provider whose public list has this model; the first one for a model that none has."""
    sellers = [name for name, provider in PROVIDERS.items() if provider.is_hosted]
    return next((seller for seller in sellers if model in public_models(seller)), sellers[0])


def price(call: Call, server: PricedServer, table: PriceTable) -> Priced:
    """What a call costs: hosted by tokens, local by the time of its hardware. Unknown is None, never 0."""
    if not server.is_hosted:
        return _local(call, server)
    if call.answer is None:
        return Priced(0.0, "api_price", table.version, 0.0) if _is_rejected(call.failure) else _unseen(call, server, table)
    if call.answer.billed_usd is not None:
        return Priced(call.answer.billed_usd, "provider", None, call.answer.billed_usd)
    usage = call.answer.usage
    if usage.input_tokens is None or usage.output_tokens is None:
        return _unseen(call, server, table)
    return _answered(call, server, table, usage)


def worst_case_usd(request: Request, worst_case: WorstCase, server: PricedServer, table: PriceTable) -> float | None:
    """The most a request can cost at a hosted server: nothing cached, the whole output used; 0 at a local one, which
    sends no bill. None where the price is unknown."""
    if not server.is_hosted:
        return 0.0
    declared = table.most_usd.get(f"{server.name}/{request.model.name}")
    if declared is not None:
        return declared
    tokens = Tokens(worst_case.input_tokens, worst_case.output_tokens)
    written = Tokens(worst_case.input_tokens, worst_case.output_tokens, cache_write=worst_case.input_tokens)
    lane = request.model.lane
    tiers = {lane.price_tier} if lane.is_deferred else {lane.price_tier, None}
    now = dt.datetime.now(dt.UTC)
    costs = [
        table.usd(request.model.name, server, service_tier, each, now) for service_tier in tiers for each in (tokens, written)
    ]
    known_costs = [cost for cost in costs if cost is not None]
    return max(known_costs, default=None)


def estimate(request: Request, tokens: Tokens, server: PricedServer, table: PriceTable, when: dt.datetime) -> Priced:
    """The price, marked as estimate, of a request of unknown usage (killed, cut, timed out)."""
    cost = table.usd(request.model.name, server, request.model.lane.price_tier, tokens, when)
    return UNKNOWN if cost is None else Priced(cost, "estimate", table.version, cost)


def _is_rejected(failure: Failure | None) -> bool:
    return failure is not None and failure.cause in REJECTED and failure.http_status != 200


def _answered(call: Call, server: PricedServer, table: PriceTable, usage: Usage) -> Priced:
    assert call.answer is not None
    tier = price_tier(call.request.model.lane, call.answer.service_tier)
    when = dt.datetime.fromtimestamp(call.timing.started_at, dt.UTC)
    tokens = Tokens(usage.input_tokens or 0, usage.output_tokens or 0)
    parts = Tokens(tokens.input, tokens.output, usage.cached_tokens or 0, usage.cache_write_tokens or 0)
    requested = call.request.model.name
    is_named = f"{server.name}/{requested}" in table.priced_as
    returned = requested if is_named else call.answer.model_returned or requested
    try:
        cost = table.usd(returned, server, tier, parts, when)
    except ValueError:
        # The parts contradict the whole: bill the whole at full price, and say that it is not sure.
        honest = Tokens(max(0, tokens.input), max(0, tokens.output))
        return estimate(call.request, honest, server, table, when)
    if cost is not None:
        cold = cost if parts.cached == parts.cache_write == 0 else table.usd(returned, server, tier, tokens, when)
        return Priced(cost, "api_price", table.version, cold)
    return estimate(call.request, parts, server, table, when) if returned != call.request.model.name else UNKNOWN


def _unseen(call: Call, server: PricedServer, table: PriceTable) -> Priced:
    """A call of unknown usage that may have been computed: the full prompt and the full allowed output."""
    text = sum(len(part.text) for part in call.request.parts)
    answered = len(call.answer.text) / CHARACTERS_PER_TOKEN if call.answer else None
    cap = call.request.max_output_tokens or int(call.request.model.params.get("max_output_tokens") or 4000)
    tokens = Tokens(int(text / CHARACTERS_PER_TOKEN) + 1, cap if answered is None else min(cap, int(answered) + 1))
    return estimate(call.request, tokens, server, table, dt.datetime.fromtimestamp(call.timing.started_at, dt.UTC))


def _local(call: Call, server: PricedServer) -> Priced:
    seconds = machine_s(call.timing, server.hardware)
    basis = local_basis(server.hardware)
    if basis == "unknown" or (seconds is None and call.timing.duration_s is None):
        return UNKNOWN
    if seconds is None:
        cost = local_usd(call.timing.duration_s or 0.0, server.hardware)
        return Priced(cost, "estimate", "local")
    return Priced(local_usd(seconds, server.hardware), basis, "local")


def _tier(tier: str | None) -> str:
    return "default" if (tier or "") in STANDARD_TIERS else str(tier)
