"""The grounding ledger: where every figure of a role's text comes from, and whether an invented one reaches the decision."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from reports.derive import derivation
from reports.given import Fact, Given
from reports.labels import SERIES, label_after, label_before
from reports.quantities import Quantity, quantities, sentences

LABELS = ("verbatim", "rounded", "derivable", "inherited", "unsupported", "contradicted")
GROUNDED = frozenset({"verbatim", "rounded", "derivable"})
INVENTED = frozenset({"unsupported", "contradicted", "inherited"})
_THRESHOLDS = frozenset({20.0, 25.0, 30.0, 50.0, 70.0, 75.0, 80.0})
_OSCILLATORS = frozenset({"rsi"})
_LOW_PRECISION = 2
_HEDGED = 0.025


@dataclass(frozen=True)
class Traced:
    """One figure of a text with its origin."""

    quantity: Quantity
    label: str
    """One of LABELS."""
    source: str = ""
    """The line, the calculation or the earlier role that it comes from; for a contradiction what the inputs say."""
    born: str = ""
    """For an invented figure: the place of the text in which it stood first."""


def trace(text: str, given: Given, earlier: Sequence[tuple[str, Sequence[Traced]]] = ()) -> list[Traced]:
    """The claims of a text, each traced. `earlier` holds (place, figures) of the texts that this role was shown."""
    return list(_trace(text, given, earlier))


def _trace(text: str, given: Given, earlier: Sequence[tuple[str, Sequence[Traced]]]) -> Iterator[Traced]:
    cited: list[Quantity] = []
    spans = iter([*sentences(text), (len(text), len(text) + 1)])
    start, end = next(spans)
    recent = 0
    for quantity in quantities(text):
        while quantity.start >= end:
            start, end = next(spans)
            cited, recent = cited[recent:], len(cited) - recent
        label = _named(text, quantity, start, end)
        if quantity.own or _is_threshold(quantity, label, text):
            cited.append(quantity)
            continue
        traced = _origin(quantity, label, text, given, cited, earlier)
        if traced.label in GROUNDED:
            cited.append(quantity)
        yield traced


def _origin(
    quantity: Quantity,
    label: str | None,
    text: str,
    given: Given,
    cited: Sequence[Quantity],
    earlier: Sequence[tuple[str, Sequence[Traced]]],
) -> Traced:
    fact = _match(quantity, label, given)
    if fact is not None and not _is_reversed(quantity, fact):
        exact = abs(abs(fact.value) - abs(quantity.value)) < 1e-9 * max(1.0, abs(fact.value))
        return Traced(quantity, "verbatim" if exact else "rounded", fact.line)
    if fact is None and (how := derivation(quantity, label, given, cited)):
        return Traced(quantity, "derivable", how)
    if said := _inherited(quantity, earlier):
        return said
    if fact is not None:
        return Traced(quantity, "contradicted", fact.line)
    if other := _contradiction(quantity, label, text, given):
        return Traced(quantity, "contradicted", other.line)
    return Traced(quantity, "unsupported")


def _named(text: str, quantity: Quantity, start: int, end: int) -> str | None:
    """The quantity a figure belongs to: named right behind it, else last before it in its sentence."""
    return label_after(text[quantity.end : min(end, quantity.end + 40)]) or label_before(text[start : quantity.start])


def _match(quantity: Quantity, label: str | None, given: Given) -> Fact | None:
    half = max(quantity.half, _HEDGED * abs(quantity.value)) if quantity.is_hedged else quantity.half
    found = [fact for fact in given.near(quantity.value, half) if _same_unit(quantity.unit, fact.unit)]
    named = [fact for fact in found if label is not None and fact.label == label]
    if named:
        return _closest(quantity, named)
    if quantity.digits <= _LOW_PRECISION:
        found = [fact for fact in found if fact.value and abs(abs(fact.value) - abs(quantity.value)) < 1e-9 and fact.unit]
    return _closest(quantity, found) if found else None


def _closest(quantity: Quantity, facts: Iterable[Fact]) -> Fact:
    return min(facts, key=lambda fact: (_is_reversed(quantity, fact), abs(abs(fact.value) - abs(quantity.value))))


def _same_unit(said: str, given: str) -> bool:
    money = {"", "$", "shares", "x"}
    return said == given or (said in money and given in money)


def _is_reversed(quantity: Quantity, fact: Fact) -> bool:
    """A gain told as a loss, or the other way round."""
    return quantity.unit in ("%", "bp") and quantity.direction != 0 and fact.value * quantity.direction < 0


def _inherited(quantity: Quantity, earlier: Sequence[tuple[str, Sequence[Traced]]]) -> Traced | None:
    for place, figures in earlier:
        for other in figures:
            if other.label in INVENTED and _says_the_same(quantity, other.quantity):
                return Traced(quantity, "inherited", f"{place}: {other.quantity.text}", other.born or place)
    return None


def _says_the_same(one: Quantity, other: Quantity) -> bool:
    return _same_unit(one.unit, other.unit) and abs(abs(one.value) - abs(other.value)) <= max(one.half, other.half) * 1.0001


def _contradiction(quantity: Quantity, label: str | None, text: str, given: Given) -> Fact | None:
    """What the inputs say of the same quantity, where they say one thing only."""
    if label is None or label in SERIES:
        return None
    facts = [fact for fact in given.named(label) if _same_unit(quantity.unit, fact.unit)]
    return facts[0] if 0 < len(facts) <= 8 else None


def _is_threshold(quantity: Quantity, label: str | None, text: str) -> bool:
    """RSI's 30 and 70 are conventions, no claims, unless the text says that RSI stands there."""
    if label not in _OSCILLATORS or quantity.value not in _THRESHOLDS:
        return False
    before = text[max(0, quantity.start - 25) : quantity.start].lower()
    after = text[quantity.end : quantity.end + 25].lower()
    return any(word in before for word in ("above", "below", "over", "under", "threshold", "toward", "level")) or any(
        word in after for word in ("threshold", "level", "line", "mark", "overbought", "oversold")
    )


def ledger(texts: Mapping[str, str], given: Given) -> dict[str, list[Traced]]:
    """Every text of one cell traced in the order of the flow: place -> figures, with births set for what was invented."""
    done: dict[str, list[Traced]] = {}
    for place, text in texts.items():
        found = trace(text, given, tuple(done.items()))
        done[place] = [_birth(place, traced) for traced in found]
    return done


def _birth(place: str, traced: Traced) -> Traced:
    if traced.label in INVENTED and not traced.born:
        return Traced(traced.quantity, traced.label, traced.source, place)
    return traced
