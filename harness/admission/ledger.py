"""The budget of a run and its ledger in Redis. Amounts are whole pico-dollars, so sums are exact."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from harness.admission.keys import Keys

if TYPE_CHECKING:
    from redis import Redis


PICO = 10**12
_MET_RUN, _MET_MODEL = "met|run", "met|model:"


def pico(usd: float | None) -> int:
    """US dollars as whole pico-dollars; unknown counts as 0 here (the tables show NULL)."""
    return round((usd or 0.0) * PICO)


@dataclass(frozen=True)
class Caps:
    """Most that hosted models may cost, in US dollars; None: no cap."""

    run_usd: float | None = None
    cell_usd: float | None = None
    call_usd: float | None = None
    model_usd: Mapping[str, float] = field(default_factory=dict)
    """Model alias -> cap."""
    month_usd: float | None = None
    """For all runs that count to one month's bill."""

    @classmethod
    def of(cls, budget: Mapping[str, Any] | None) -> Caps:
        """From the `budget` of a resolved experiment."""
        caps = budget or {}
        run_usd, cell_usd, call_usd, month_usd = (caps.get(f"{scope}_usd") for scope in ("run", "cell", "call", "month"))
        return cls(run_usd, cell_usd, call_usd, caps.get("model_usd") or {}, month_usd)

    def of_call(self, model: str) -> list[str | int]:
        """Caps of call, cell, model and run as the scripts read them."""
        return [_cap(usd) for usd in (self.call_usd, self.cell_usd, self.model_usd.get(model), self.run_usd)]

    @property
    def of_month(self) -> str | int:
        """Cap of the month as the scripts read it."""
        return _cap(self.month_usd)

    def used_up(self, totals: LedgerTotals) -> set[str | None]:
        """Models whose cap a call was refused for, None for the run's, unless it was raised since."""
        caps = [(None, self.run_usd), *self.model_usd.items()]
        return {alias for alias, usd in caps if usd is not None and pico(usd) <= totals.met.get(alias, -1)}

    def of_cell(self, models: frozenset[str]) -> list[str | int]:
        """Cap of the run, then each model with its cap."""
        pairs = [word for model in sorted(models) for word in (model, _cap(self.model_usd.get(model)))]
        return [_cap(self.run_usd), *pairs]


@dataclass(frozen=True)
class Money:
    """What a run, or one model in it, has cost, in US dollars."""

    settled_usd: float = 0.0
    """By the tokens that servers reported."""
    estimated_usd: float = 0.0
    """By worst case, for requests whose end was never recorded."""
    reserved_usd: float = 0.0
    """For requests in flight."""

    @property
    def spent_usd(self) -> float:
        return self.settled_usd + self.estimated_usd


@dataclass(frozen=True)
class RolePace:
    """Ended requests of one role in one arm, and how long they took together."""

    calls: int
    seconds: float

    def since(self, earlier: RolePace | None) -> RolePace:
        return RolePace(self.calls - earlier.calls, self.seconds - earlier.seconds) if earlier else self


_PACE, _MARK = "pace", "\x1f"


def pace_name(arm: str, role: str) -> str:
    """Name of a pace in the ledger."""
    return _MARK.join((_PACE, arm, role))


@dataclass(frozen=True)
class LedgerTotals:
    """Ended requests of a run, their tokens, and the money of its hosted models."""

    calls: int
    input_tokens: int
    output_tokens: int
    money: Money
    paces: Mapping[tuple[str, str], RolePace] = field(default_factory=dict)
    """(arm, role) -> pace."""
    met: Mapping[str | None, int] = field(default_factory=dict)
    """Model, or None for the run -> its cap in pico-dollars that a call was refused for."""


def totals(client: Redis, run_id: str) -> LedgerTotals:
    """The run's totals so far, from one read."""
    raw: Any = client.hgetall(Keys(run_id).ledger)
    fields = {key.decode(): int(value) for key, value in raw.items() if value.lstrip(b"-").isdigit()}
    calls, input_tokens, output_tokens = (fields.get(f"run|{name}", 0) for name in ("calls", "input_tokens", "output_tokens"))
    money = Money(*(fields.get(f"run|{kind}", 0) / PICO for kind in ("settled", "estimated", "reserved")))
    met: dict[str | None, int] = {None: fields[_MET_RUN]} if _MET_RUN in fields else {}
    met |= {name.removeprefix(_MET_MODEL): cap for name, cap in fields.items() if name.startswith(_MET_MODEL)}
    return LedgerTotals(calls, input_tokens, output_tokens, money, _paces(fields), met)


def _paces(fields: Mapping[str, int]) -> dict[tuple[str, str], RolePace]:
    names = {name.rpartition("|")[0] for name in fields if name.startswith(_PACE + _MARK)}
    by_name = {name: RolePace(fields.get(f"{name}|calls", 0), fields.get(f"{name}|ms", 0) / 1000) for name in names}
    return {(arm, role): pace for name, pace in by_name.items() for _, arm, role in [name.split(_MARK)]}


def _cap(usd: float | None) -> str | int:
    return "" if usd is None else pico(usd)
