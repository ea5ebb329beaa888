"""One figure of a text with its origin."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from reports.grounding.claims import LOW_PRECISION, FigureClaim, claims_of, match
from reports.grounding.derivations import derivation
from reports.grounding.inputs import BySize, InputFigure, Inputs
from reports.grounding.labels import SERIES
from reports.grounding.quantities import Quantity, same_unit


@dataclass(frozen=True)
class FigureOrigin:
    """One figure of a text with its origin."""

    quantity: Quantity
    label: str
    """One of the labels of reports/grounding.py."""
    source: str = ""
    """The line, the calculation or the earlier role that it comes from; for a contradiction what the inputs say."""
    born: str = ""
    """For an invented figure: the place of the text in which it stood first."""


_SLACK = 1.0001


class InventedFigures:
    """Invented figures: each saying once, grouped by the precision that it was said with."""

    def __init__(self, figures: Iterable[FigureOrigin]) -> None:
        sayings: dict[float, dict[tuple[float, str], tuple[int, FigureOrigin]]] = {}
        for order, one in enumerate(figures):
            said = one.quantity
            sayings.setdefault(said.half, {}).setdefault((abs(said.value), said.unit), (order, one))
        self._by_half = {
            half: BySize([(value, (unit, order, one)) for (value, unit), (order, one) in group.items()])
            for half, group in sayings.items()
        }

    def first_like(self, quantity: Quantity) -> FigureOrigin | None:
        """The first that says the same: the same kind of unit, and no further away than the coarser of the two is rounded."""
        found = [
            (order, one)
            for half, group in self._by_half.items()
            for unit, order, one in group.near(quantity.value, max(half, quantity.half) * _SLACK)
            if same_unit(quantity.unit, unit)
        ]
        return min(found, key=lambda pair: pair[0])[1] if found else None


LABELS = ("verbatim", "rounded", "derivable", "inherited", "unsupported", "contradicted")
GROUNDED = frozenset({"verbatim", "rounded", "derivable"})
INVENTED = frozenset({"unsupported", "contradicted", "inherited"})
MOST_CHARS = 30_000
"""Characters of one text that are read, about 5,000 words; no role is asked for that much."""
_FEW = 8
"""Facts of one quantity among which a figure that is none of them contradicts; of more, one may be missing."""
_MOST_MULTIPLE = 10_000.0


Earlier = Sequence[tuple[str, InventedFigures]]
"""(place, what was invented there) of the texts that a role was shown, in the order of the flow."""


def origins(text: str, given: Inputs, earlier: Earlier = ()) -> list[FigureOrigin]:
    """The claims of a text, each traced; of a text beyond MOST_CHARS only the beginning is read."""
    found: list[FigureOrigin] = []
    cited: list[Quantity] = []
    for claims in claims_of(text[:MOST_CHARS]):
        direct = [(claim, match(claim, given)) for claim in claims]
        here = [_signed(claim.quantity, fact) for claim, fact in direct if fact is not None]
        sources = [fact for _, fact in direct if fact is not None]
        for claim, fact in direct:
            if claim.is_convention:
                continue
            beside = [*cited, *(one for one in here if one.start != claim.quantity.start)]
            traced = _origin(claim, fact, _Evidence(given, beside, sources), earlier)
            if traced.label in INVENTED and claim.is_plan:
                continue
            found.append(traced)
            if fact is None and traced.label == "derivable" and claim.quantity.digits >= LOW_PRECISION:
                here.append(claim.quantity)
        cited = here
    return found


def _signed(quantity: Quantity, fact: InputFigure) -> Quantity:
    """With the sign that the inputs show: a loss may be told without, a price in parentheses is none."""
    return quantity if quantity.value * fact.value >= 0 else replace(quantity, value=-quantity.value)


@dataclass(frozen=True)
class _Evidence:
    """What one figure is held against."""

    given: Inputs
    cited: Sequence[Quantity]
    """Figures beside it and in the sentence before that rest on something."""
    sources: Sequence[InputFigure]
    """The facts that figures of its sentence were found in."""

    def derivation(self, claim: FigureClaim) -> str | None:
        return derivation(claim.quantity, claim.labels(self.given), self.given, self.cited, self.sources)


def _origin(claim: FigureClaim, fact: InputFigure | None, inputs: _Evidence, earlier: Earlier) -> FigureOrigin:
    quantity = claim.quantity
    against = _contradiction(claim, fact, inputs.given)
    if fact is not None and against is None:
        exact = abs(abs(fact.value) - abs(quantity.value)) < 1e-9 * max(1.0, abs(fact.value))
        return FigureOrigin(quantity, "verbatim" if exact else "rounded", fact.line)
    if not (fact and claim.is_reversed(fact)) and (how := inputs.derivation(claim)):
        return FigureOrigin(quantity, "derivable", how)
    if said := _inherited(quantity, earlier):
        return said
    return FigureOrigin(quantity, "contradicted", against.line) if against else FigureOrigin(quantity, "unsupported")


def _contradiction(claim: FigureClaim, fact: InputFigure | None, given: Inputs) -> InputFigure | None:
    """What the inputs say of the same quantity, where they say few things and none of them is this."""
    if fact is not None and claim.is_reversed(fact):
        return fact
    label = claim.tied_label
    if label is None or label in SERIES or claim.is_difference or (fact is not None and fact.label in (None, label)):
        return None
    facts = list(islice((other for other in given.named(label) if _are_alike(claim.quantity, other)), _FEW + 1))
    return facts[0] if 0 < len(facts) <= _FEW else None


def _are_alike(quantity: Quantity, fact: InputFigure) -> bool:
    """Whether one can contradict the other: a multiple ("3.2x sales") says nothing of an amount."""
    return same_unit(quantity.unit, fact.unit) and (quantity.unit != "x" or abs(fact.value) < _MOST_MULTIPLE)


def _inherited(quantity: Quantity, earlier: Earlier) -> FigureOrigin | None:
    for place, invented in earlier:
        if other := invented.first_like(quantity):
            return FigureOrigin(quantity, "inherited", f"{place}: {other.quantity.text}", other.born or place)
    return None


def origins_of_texts(
    texts: Mapping[str, str],
    given: Inputs,
    shown: Mapping[str, Collection[str]] | None = None,
    own: Mapping[str, Inputs] | None = None,
) -> dict[str, list[FigureOrigin]]:
    """Every text of one cell traced in the order of the flow: place -> figures, with births set for what was invented.

    `shown` says per place which earlier places' texts it was shown (all of them where it is not given), `own` what a place
    was given besides."""
    done: dict[str, list[FigureOrigin]] = {}
    invented: dict[str, InventedFigures] = {}
    for place, text in texts.items():
        seen = [pair for pair in invented.items() if shown is None or pair[0] in shown.get(place, ())]
        found = origins(text, (own or {}).get(place, given), seen)
        done[place] = [_with_birth(place, traced) for traced in found]
        invented[place] = InventedFigures(one for one in done[place] if one.label in INVENTED)
    return done


def _with_birth(place: str, traced: FigureOrigin) -> FigureOrigin:
    if traced.label in INVENTED and not traced.born:
        return FigureOrigin(traced.quantity, traced.label, traced.source, place)
    return traced


def reaching(found: Mapping[str, Sequence[FigureOrigin]], last: str) -> set[tuple[str, int]]:
    """(place, start) of every invented figure that the text at `last` repeats, its own inventions included."""
    by_birth: dict[str, list[FigureOrigin]] = {}
    for traced in (one for one in found.get(last, ()) if one.label in INVENTED):
        by_birth.setdefault(traced.born, []).append(traced)
    ends = {born: InventedFigures(figures) for born, figures in by_birth.items()}
    return {
        (place, traced.quantity.start)
        for place, figures in found.items()
        for traced in figures
        if traced.label in INVENTED and traced.born in ends and ends[traced.born].first_like(traced.quantity)
    }
