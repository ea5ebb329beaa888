"""The money of a run: caps, and what the ledger in Redis says; amounts are kept as whole pico-dollars, so sums are exact."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness.gate.keys import Keys

if TYPE_CHECKING:
    from redis import Redis

PICO = 10**12


def pico(usd: float | None) -> int:
    """US dollars as whole pico-dollars; nothing known counts nothing here and NULL in the tables."""
    return round((usd or 0.0) * PICO)


@dataclass(frozen=True)
class Caps:
    """Most that hosted models' bills may come to, in US dollars; None where nothing is said."""

    run_usd: float | None = None
    cell_usd: float | None = None
    call_usd: float | None = None
    model_usd: Mapping[str, float] = field(default_factory=dict)
    """Model alias -> cap."""

    @classmethod
    def of(cls, budget: Mapping[str, Any] | None) -> Caps:
        """From the `budget` of a resolved experiment."""
        said = budget or {}
        return cls(said.get("run_usd"), said.get("cell_usd"), said.get("call_usd"), said.get("model_usd") or {})

    def of_call(self, model: str) -> list[str | int]:
        """Caps of call, cell, model and run as the scripts read them."""
        return [_cap(one) for one in (self.call_usd, self.cell_usd, self.model_usd.get(model), self.run_usd)]

    def of_cell(self, models: frozenset[str]) -> list[str | int]:
        """Cap of the run, then each model with its cap."""
        pairs = [word for model in sorted(models) for word in (model, _cap(self.model_usd.get(model)))]
        return [_cap(self.run_usd), *pairs]


@dataclass(frozen=True)
class Money:
    """What a run, or one model in it, has come to, in US dollars."""

    settled_usd: float = 0.0
    """Billed by the tokens that servers told."""
    estimated_usd: float = 0.0
    """Billed by worst case, for requests of which nobody heard the end."""
    reserved_usd: float = 0.0
    """Held for requests that are out."""

    @property
    def spent_usd(self) -> float:
        return self.settled_usd + self.estimated_usd


def of_run(client: Redis, run_id: str) -> Money:
    """The run's money as it stands."""
    return _money(_read(client, run_id), "run")


def of_models(client: Redis, run_id: str) -> dict[str, Money]:
    """Each hosted model's money as it stands, by alias."""
    fields = _read(client, run_id)
    names = {name.removeprefix("model:").rpartition("|")[0] for name in fields if name.startswith("model:")}
    return {name: _money(fields, f"model:{name}") for name in sorted(names)}


def told(client: Redis, run_id: str) -> tuple[int, tuple[int, int], float]:
    """Requests whose end is known so far, their input and output tokens, and what hosted models have billed, in one look."""
    fields = _read(client, run_id)
    tokens = fields.get("run|input_tokens", 0), fields.get("run|output_tokens", 0)
    return fields.get("run|calls", 0), tokens, _money(fields, "run").spent_usd


def _read(client: Redis, run_id: str) -> dict[str, int]:
    raw: Any = client.hgetall(Keys(run_id).ledger)
    return {key.decode(): int(value) for key, value in raw.items() if value.lstrip(b"-").isdigit()}


def _money(fields: Mapping[str, int], scope: str) -> Money:
    return Money(*(fields.get(f"{scope}|{kind}", 0) / PICO for kind in ("settled", "estimated", "reserved")))


def _cap(usd: float | None) -> str | int:
    return "" if usd is None else pico(usd)
