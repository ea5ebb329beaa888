"""The grounding of a text: the origin of each figure, and whether an invented one reaches the decision."""

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
    """One of LABELS."""
    source: str = ""
    """The line, calculation or earlier role that it comes from; for a contradiction, the line of the inputs."""
    born: str = ""
    """For an invented figure: the call site of the first text that contains it."""


_SLACK = 1.0001


class InventedFigures:
    """Distinct invented figures, grouped by precision."""

    def __init__(self, figures: Iterable[FigureOrigin]) -> None:
        sayings: dict[float, dict[tuple[float, str], tuple[int, FigureOrigin]]] = {}
        for order, origin in enumerate(figures):
            quantity = origin.quantity
            sayings.setdefault(quantity.half, {}).setdefault((abs(quantity.value), quantity.unit), (order, origin))
        self._by_half = {
            half: BySize([(value, (unit, order, origin)) for (value, unit), (order, origin) in group.items()])
            for half, group in sayings.items()
        }

    def first_like(self, quantity: Quantity) -> FigureOrigin | None:
        """The first equal figure: a compatible unit, and a distance within the rounding of the coarser one."""
        alike = [
            (order, origin)
            for half, group in self._by_half.items()
            for unit, order, origin in group.near(quantity.value, max(half, quantity.half) * _SLACK)
            if same_unit(quantity.unit, unit)
        ]
        return min(alike, key=lambda pair: pair[0])[1] if alike else None


LABELS = ("verbatim", "rounded", "derivable", "inherited", "unsupported", "contradicted")
GROUNDED = frozenset({"verbatim", "rounded", "derivable"})
INVENTED = frozenset({"unsupported", "contradicted", "inherited"})
MOST_CHARS = 30_000
"""Characters read of one text, about 5,000 words, more than any role is asked for."""
_FEW = 8
"""With at most this many input figures of a quantity, a different figure is a contradiction; with more, one may be missing."""
_MOST_MULTIPLE = 10_000.0


Earlier = Sequence[tuple[str, InventedFigures]]
"""(call site, figures invented there) of the texts that a role was shown, in pipeline order."""


def origins(text: str, inputs: Inputs, earlier: Earlier = ()) -> list[FigureOrigin]:
    """The origin of each claim in a text; only the first MOST_CHARS characters are read."""
    results: list[FigureOrigin] = []
    cited: list[Quantity] = []
    for claims in claims_of(text[:MOST_CHARS]):
        direct = [(claim, match(claim, inputs)) for claim in claims]
        here = [_signed(claim.quantity, fact) for claim, fact in direct if fact is not None]
        sources = [fact for _, fact in direct if fact is not None]
        for claim, fact in direct:
            if claim.is_convention:
                continue
            nearby = [*cited, *(cited_quantity for cited_quantity in here if cited_quantity.start != claim.quantity.start)]
            figure_origin = _origin(claim, fact, _Evidence(inputs, nearby, sources), earlier)
            if figure_origin.label in INVENTED and claim.is_plan:
                continue
            results.append(figure_origin)
            if fact is None and figure_origin.label == "derivable" and claim.quantity.digits >= LOW_PRECISION:
                here.append(claim.quantity)
        cited = here
    return results


def _signed(quantity: Quantity, fact: InputFigure) -> Quantity:
    """The quantity with the sign of the input: a loss may be written without one, a price in parentheses is not negative."""
    return quantity if quantity.value * fact.value >= 0 else replace(quantity, value=-quantity.value)


@dataclass(frozen=True)
class _Evidence:
    """What one figure may be derived from."""

    inputs: Inputs
    cited: Sequence[Quantity]
    """Grounded figures in its sentence and the sentence before."""
    sources: Sequence[InputFigure]
    """The input figures matched in its sentence."""

    def derivation(self, claim: FigureClaim) -> str | None:
        return derivation(claim.quantity, claim.labels(self.inputs), self.inputs, self.cited, self.sources)


def _origin(claim: FigureClaim, fact: InputFigure | None, inputs: _Evidence, earlier: Earlier) -> FigureOrigin:
    quantity = claim.quantity
    against = _contradiction(claim, fact, inputs.inputs)
    if fact is not None and against is None:
        exact = abs(abs(fact.value) - abs(quantity.value)) < 1e-9 * max(1.0, abs(fact.value))
        return FigureOrigin(quantity, "verbatim" if exact else "rounded", fact.line)
    if not (fact and claim.is_reversed(fact)) and (how := inputs.derivation(claim)):
        return FigureOrigin(quantity, "derivable", how)
    if inherited := _inherited(quantity, earlier):
        return inherited
    return FigureOrigin(quantity, "contradicted", against.line) if against else FigureOrigin(quantity, "unsupported")


def _contradiction(claim: FigureClaim, fact: InputFigure | None, inputs: Inputs) -> InputFigure | None:
    """The input figure that contradicts a claim: few figures of its quantity exist and none is equal."""
    if fact is not None and claim.is_reversed(fact):
        return fact
    label = claim.tied_label
    if label is None or label in SERIES or claim.is_difference or (fact is not None and fact.label in (None, label)):
        return None
    facts = list(islice((other for other in inputs.named(label) if _are_alike(claim.quantity, other)), _FEW + 1))
    return facts[0] if 0 < len(facts) <= _FEW else None


def _are_alike(quantity: Quantity, fact: InputFigure) -> bool:
    """Whether one can contradict the other: a multiple ("3.2x sales") cannot contradict an amount."""
    return same_unit(quantity.unit, fact.unit) and (quantity.unit != "x" or abs(fact.value) < _MOST_MULTIPLE)


def _inherited(quantity: Quantity, earlier: Earlier) -> FigureOrigin | None:
    for place, invented in earlier:
        if other := invented.first_like(quantity):
            return FigureOrigin(quantity, "inherited", f"{place}: {other.quantity.text}", other.born or place)
    return None


def origins_of_texts(
    texts: Mapping[str, str],
    inputs: Inputs,
    shown: Mapping[str, Collection[str]] | None = None,
    own_inputs: Mapping[str, Inputs] | None = None,
) -> dict[str, list[FigureOrigin]]:
    """Origins of all texts of one cell in pipeline order: call site -> figures, with `born` set for invented ones.

    `shown` maps a call site to the earlier ones whose texts were in its prompt (default: all); `own` to its own inputs."""
    done: dict[str, list[FigureOrigin]] = {}
    invented: dict[str, InventedFigures] = {}
    for place, text in texts.items():
        seen = [pair for pair in invented.items() if shown is None or pair[0] in shown.get(place, ())]
        results = origins(text, (own_inputs or {}).get(place, inputs), seen)
        done[place] = [_with_birth(place, figure_origin) for figure_origin in results]
        invented[place] = InventedFigures(origin for origin in done[place] if origin.label in INVENTED)
    return done


def _with_birth(place: str, origin: FigureOrigin) -> FigureOrigin:
    if origin.label in INVENTED and not origin.born:
        return FigureOrigin(origin.quantity, origin.label, origin.source, place)
    return origin


def reaching(origins_by_place: Mapping[str, Sequence[FigureOrigin]], last: str) -> set[tuple[str, int]]:
    """(call site, start) of every invented figure that the text at `last` contains, including its own."""
    by_birth: dict[str, list[FigureOrigin]] = {}
    for figure_origin in (origin for origin in origins_by_place.get(last, ()) if origin.label in INVENTED):
        by_birth.setdefault(figure_origin.born, []).append(figure_origin)
    ends = {born: InventedFigures(figures) for born, figures in by_birth.items()}
    return {
        (place, figure_origin.quantity.start)
        for place, figures in origins_by_place.items()
        for figure_origin in figures
        if figure_origin.label in INVENTED
        and figure_origin.born in ends
        and ends[figure_origin.born].first_like(figure_origin.quantity)
    }
