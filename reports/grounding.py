"""The grounding ledger: where every figure of a role's text comes from, and whether an invented one reaches the decision."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from reports.tracing.claims import Claim, claims_of
from reports.tracing.derive import derivation
from reports.tracing.given import Fact, Given
from reports.tracing.invented import Invented
from reports.tracing.labels import SERIES
from reports.tracing.matching import LOW_PRECISION, match
from reports.tracing.quantities import Quantity, same_unit
from reports.tracing.traced import Traced

LABELS = ("verbatim", "rounded", "derivable", "inherited", "unsupported", "contradicted")
GROUNDED = frozenset({"verbatim", "rounded", "derivable"})
INVENTED = frozenset({"unsupported", "contradicted", "inherited"})
MOST_CHARS = 30_000
"""Characters of one text that are read, about 5,000 words; no role is asked for that much."""
_FEW = 8
"""Facts of one quantity among which a figure that is none of them contradicts; of more, one may be missing."""
_MOST_MULTIPLE = 10_000.0


Earlier = Sequence[tuple[str, Invented]]
"""(place, what was invented there) of the texts that a role was shown, in the order of the flow."""


def trace(text: str, given: Given, earlier: Earlier = ()) -> list[Traced]:
    """The claims of a text, each traced; of a text beyond MOST_CHARS only the beginning is read."""
    found: list[Traced] = []
    cited: list[Quantity] = []
    for claims in claims_of(text[:MOST_CHARS]):
        direct = [(claim, match(claim, given)) for claim in claims]
        here = [_signed(claim.quantity, fact) for claim, fact in direct if fact is not None]
        sources = [fact for _, fact in direct if fact is not None]
        for claim, fact in direct:
            if claim.is_convention:
                continue
            beside = [*cited, *(one for one in here if one.start != claim.quantity.start)]
            traced = _origin(claim, fact, _Inputs(given, beside, sources), earlier)
            if traced.label in INVENTED and claim.is_plan:
                continue
            found.append(traced)
            if fact is None and traced.label == "derivable" and claim.quantity.digits >= LOW_PRECISION:
                here.append(claim.quantity)
        cited = here
    return found


def _signed(quantity: Quantity, fact: Fact) -> Quantity:
    """With the sign that the inputs show: a loss may be told without, a price in parentheses is none."""
    return quantity if quantity.value * fact.value >= 0 else replace(quantity, value=-quantity.value)


@dataclass(frozen=True)
class _Inputs:
    """What one figure is held against."""

    given: Given
    cited: Sequence[Quantity]
    """Figures beside it and in the sentence before that rest on something."""
    sources: Sequence[Fact]
    """The facts that figures of its sentence were found in."""

    def derivation(self, claim: Claim) -> str | None:
        return derivation(claim.quantity, claim.labels(self.given), self.given, self.cited, self.sources)


def _origin(claim: Claim, fact: Fact | None, inputs: _Inputs, earlier: Earlier) -> Traced:
    quantity = claim.quantity
    against = _contradiction(claim, fact, inputs.given)
    if fact is not None and against is None:
        exact = abs(abs(fact.value) - abs(quantity.value)) < 1e-9 * max(1.0, abs(fact.value))
        return Traced(quantity, "verbatim" if exact else "rounded", fact.line)
    if not (fact and claim.is_reversed(fact)) and (how := inputs.derivation(claim)):
        return Traced(quantity, "derivable", how)
    if said := _inherited(quantity, earlier):
        return said
    return Traced(quantity, "contradicted", against.line) if against else Traced(quantity, "unsupported")


def _contradiction(claim: Claim, fact: Fact | None, given: Given) -> Fact | None:
    """What the inputs say of the same quantity, where they say few things and none of them is this."""
    if fact is not None and claim.is_reversed(fact):
        return fact
    label = claim.tied_label
    if label is None or label in SERIES or claim.is_difference or (fact is not None and fact.label in (None, label)):
        return None
    facts = list(islice((other for other in given.named(label) if _are_alike(claim.quantity, other)), _FEW + 1))
    return facts[0] if 0 < len(facts) <= _FEW else None


def _are_alike(quantity: Quantity, fact: Fact) -> bool:
    """Whether one can contradict the other: a multiple ("3.2x sales") says nothing of an amount."""
    return same_unit(quantity.unit, fact.unit) and (quantity.unit != "x" or abs(fact.value) < _MOST_MULTIPLE)


def _inherited(quantity: Quantity, earlier: Earlier) -> Traced | None:
    for place, invented in earlier:
        if other := invented.first_like(quantity):
            return Traced(quantity, "inherited", f"{place}: {other.quantity.text}", other.born or place)
    return None


def ledger(
    texts: Mapping[str, str],
    given: Given,
    shown: Mapping[str, Collection[str]] | None = None,
    own: Mapping[str, Given] | None = None,
) -> dict[str, list[Traced]]:
    """Every text of one cell traced in the order of the flow: place -> figures, with births set for what was invented.

    `shown` says per place which earlier places' texts it was shown (all of them where it is not given), `own` what a place
    was given besides."""
    done: dict[str, list[Traced]] = {}
    invented: dict[str, Invented] = {}
    for place, text in texts.items():
        seen = [pair for pair in invented.items() if shown is None or pair[0] in shown.get(place, ())]
        found = trace(text, (own or {}).get(place, given), seen)
        done[place] = [_birth(place, traced) for traced in found]
        invented[place] = Invented(one for one in done[place] if one.label in INVENTED)
    return done


def _birth(place: str, traced: Traced) -> Traced:
    if traced.label in INVENTED and not traced.born:
        return Traced(traced.quantity, traced.label, traced.source, place)
    return traced


def reaching(found: Mapping[str, Sequence[Traced]], last: str) -> set[tuple[str, int]]:
    """(place, start) of every invented figure that the text at `last` repeats, its own inventions included."""
    by_birth: dict[str, list[Traced]] = {}
    for traced in (one for one in found.get(last, ()) if one.label in INVENTED):
        by_birth.setdefault(traced.born, []).append(traced)
    ends = {born: Invented(figures) for born, figures in by_birth.items()}
    return {
        (place, traced.quantity.start)
        for place, figures in found.items()
        for traced in figures
        if traced.label in INVENTED and traced.born in ends and ends[traced.born].first_like(traced.quantity)
    }
