"""The grounding ledger: where every figure of a role's text comes from, and whether an invented one reaches the decision."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import islice

from reports.tracing.derive import derivation
from reports.tracing.given import Fact, Given
from reports.tracing.invented import Invented
from reports.tracing.labels import MADE_OF, SERIES, label_after, label_before, named_in, tied_label
from reports.tracing.quantities import MOVES, Quantity, quantities, same_unit
from reports.tracing.sentences import sentences
from reports.tracing.traced import Traced

LABELS = ("verbatim", "rounded", "derivable", "inherited", "unsupported", "contradicted")
GROUNDED = frozenset({"verbatim", "rounded", "derivable"})
INVENTED = frozenset({"unsupported", "contradicted", "inherited"})
_THRESHOLDS = frozenset({20.0, 25.0, 30.0, 50.0, 70.0, 75.0, 80.0})
_SWINGING = frozenset({"macd", "macd_signal", "macd_histogram"})
_MINUS = re.compile(r"\b(?:negative|minus|below zero|under zero)\b", re.IGNORECASE)
_OSCILLATORS = frozenset({"rsi"})
_TOWARDS = re.compile(r"\b(?:above|below|over|under|threshold|towards?|level|cross\w*|past)\b", re.IGNORECASE)
_MARK = re.compile(r"\s*(?:\w+ )?(?:threshold|level|line|mark|overbought|oversold)\b", re.IGNORECASE)
_DIFFERENCE = re.compile(r"\s*(?:\w+ )?(?:above|below|over|under|more|less|higher|lower|away|points?)\b", re.IGNORECASE)
_OF = re.compile(r"\s*of\b")
_BESIDE = re.compile(r"\W*(\w{4,})")
_LOW_PRECISION = 2
MOST_CHARS = 30_000
"""Characters of one text that are read, about 5,000 words; no role is asked for that much."""
_FEW = 8
"""Facts of one quantity among which a figure that is none of them contradicts; of more, one may be missing."""
_HEDGED = 0.025


Earlier = Sequence[tuple[str, Invented]]
"""(place, what was invented there) of the texts that a role was shown, in the order of the flow."""


def trace(text: str, given: Given, earlier: Earlier = ()) -> list[Traced]:
    """The claims of a text, each traced; of a text beyond MOST_CHARS only the beginning is read."""
    found: list[Traced] = []
    cited: list[Quantity] = []
    for claims in _by_sentence(text[:MOST_CHARS]):
        direct = [(claim, _match(claim, given)) for claim in claims]
        here = [claim.quantity for claim, fact in direct if fact is not None]
        found += [
            _origin(claim, fact, given, [*cited, *(one for one in here if one is not claim.quantity)], earlier)
            for claim, fact in direct
            if not claim.is_convention
        ]
        cited = here
    return found


@dataclass(frozen=True)
class _Claim:
    """A figure within its sentence."""

    quantity: Quantity
    sentence: str
    at: int
    """Where the figure starts in the sentence."""

    @property
    def end(self) -> int:
        return self.at + len(self.quantity.text)

    @property
    def tied_label(self) -> str | None:
        """The quantity it says it is, with nothing but small words between."""
        return self._named_after or tied_label(self.sentence, self.at)

    @property
    def _named_after(self) -> str | None:
        """The quantity named right behind it; a percentage of something is a share of it, not the thing."""
        is_share = self.quantity.unit == "%" and _OF.match(self.sentence, self.end)
        return None if is_share else label_after(self.sentence, self.end)

    @cached_property
    def label(self) -> str | None:
        """The quantity it belongs to: named right behind it, else last before it; an unnamed gain or loss is a return."""
        named = self._named_after or label_before(self.sentence, self.at)
        return named or ("return" if self.quantity.unit == "%" and self._moves else None)

    @property
    def _moves(self) -> bool:
        return self.quantity.direction != 0 or MOVES.search(self.sentence) is not None

    def is_reversed(self, fact: Fact) -> bool:
        """A gain told as a loss, or the other way round; of an indicator that swings around zero its sign."""
        quantity = self.quantity
        if quantity.unit in ("%", "bp"):
            return quantity.direction != 0 and fact.value * quantity.direction < 0
        if fact.label not in _SWINGING:
            return False
        return quantity.value * fact.value < 0 and (quantity.value < 0 or _MINUS.search(self.sentence) is None)

    def labels(self, given: Given) -> list[str]:
        """Every quantity its sentence names, its own first, and what those are made of that were not given themselves."""
        own = [self.label] if self.label else []
        others = dict.fromkeys(name for name, *_ in named_in(self.sentence))
        said = own + [name for name in others if name != self.label][:3]
        return list(dict.fromkeys([*said, *(part for name in said if not given.named(name) for part in MADE_OF.get(name, ()))]))

    @property
    def is_convention(self) -> bool:
        """A proposal of the speaker's own, or one of RSI's conventional marks: no claim about the world."""
        return self.quantity.own or self._is_threshold

    @property
    def _is_threshold(self) -> bool:
        if self.label not in _OSCILLATORS or self.quantity.value not in _THRESHOLDS:
            return False
        before = self.sentence[max(0, self.at - 25) : self.at]
        return _TOWARDS.search(before) is not None or _MARK.match(self.sentence, self.end) is not None

    @property
    def is_difference(self) -> bool:
        return _DIFFERENCE.match(self.sentence, self.end) is not None


def _by_sentence(text: str) -> Iterator[list[_Claim]]:
    found = quantities(text)
    place = 0
    for start, end in sentences(text):
        claims = []
        while place < len(found) and found[place].start < end:
            claims.append(_Claim(found[place], text[start:end], found[place].start - start))
            place += 1
        if claims:
            yield claims


def _origin(claim: _Claim, fact: Fact | None, given: Given, cited: Sequence[Quantity], earlier: Earlier) -> Traced:
    quantity = claim.quantity
    against = _contradiction(claim, fact, given)
    if fact is not None and against is None:
        exact = abs(abs(fact.value) - abs(quantity.value)) < 1e-9 * max(1.0, abs(fact.value))
        return Traced(quantity, "verbatim" if exact else "rounded", fact.line)
    if not (fact and claim.is_reversed(fact)) and (how := derivation(quantity, claim.labels(given), given, cited)):
        return Traced(quantity, "derivable", how)
    if said := _inherited(quantity, earlier):
        return said
    return Traced(quantity, "contradicted", against.line) if against else Traced(quantity, "unsupported")


def _contradiction(claim: _Claim, fact: Fact | None, given: Given) -> Fact | None:
    """What the inputs say of the same quantity, where they say few things and none of them is this."""
    if fact is not None and claim.is_reversed(fact):
        return fact
    label = claim.tied_label
    if label is None or label in SERIES or claim.is_difference or (fact is not None and fact.label in (None, label)):
        return None
    facts = list(islice((other for other in given.named(label) if same_unit(claim.quantity.unit, other.unit)), _FEW + 1))
    return facts[0] if 0 < len(facts) <= _FEW else None


def _match(claim: _Claim, given: Given) -> Fact | None:
    """The fact that a figure shows, exactly or rounded. A figure of few digits must share its quantity or its words."""
    quantity = claim.quantity
    half = max(quantity.half, _HEDGED * abs(quantity.value)) if quantity.is_hedged else quantity.half
    found = [fact for fact in given.near(quantity.value, half) if same_unit(quantity.unit, fact.unit)]
    named = [fact for fact in found if fact.label is not None and fact.label == claim.label]
    if not named and quantity.digits <= _LOW_PRECISION:
        named = [fact for fact in found if _is_quoted(claim, fact)]
        return _closest(claim, named) if named else None
    return _closest(claim, named or found) if found else None


def _is_quoted(claim: _Claim, fact: Fact) -> bool:
    """Whether the inputs show the very figure with a unit, with two decimals, or beside the same word."""
    if abs(abs(fact.value) - abs(claim.quantity.value)) > 1e-9 * abs(fact.value):
        return False
    beside = _BESIDE.match(claim.sentence, claim.end)
    return bool(fact.unit) or claim.quantity.half < 0.01 or (beside is not None and beside[1] in fact.line)


def _closest(claim: _Claim, facts: Iterable[Fact]) -> Fact:
    size = abs(claim.quantity.value)
    return min(facts, key=lambda fact: (claim.is_reversed(fact), abs(abs(fact.value) - size)))


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
