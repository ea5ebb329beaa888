"""Claims: the figures of a text within their sentences, and what each says that it is."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property

from reports.grounding.inputs import InputFigure, Inputs
from reports.grounding.labels import MADE_OF, SERIES, label_after, label_before, named_in, tied_label
from reports.grounding.proposals import is_planning
from reports.grounding.quantities import MOVES, Quantity, quantities, same_unit
from reports.grounding.sentences import sentences

_THRESHOLDS = {
    "rsi": frozenset({20.0, 25.0, 30.0, 50.0, 70.0, 75.0, 80.0}),
    "current_ratio": frozenset({1.0, 1.5, 2.0}),
    "debt_to_equity": frozenset({1.0, 2.0}),
    "pb": frozenset({1.0}),
    "macd": frozenset({0.0}),
}
_SIGNED = frozenset(
    {
        *("macd", "macd_signal", "macd_histogram", "eps", "operating_cash_flow", "free_cash_flow"),
        *("net_income", "operating_income", "pretax_income", "gross_profit", "gross_margin", "operating_margin", "net_margin"),
    }
)
"""Quantities that can be below zero, so that their sign says something."""
_MINUS = re.compile(
    r"\b(?:negative|minus|below zero|under zero|loss(?:es)?|lost|outflows?|used|burn\w*|deficit|consum\w+|drain\w*"
    r"|shortfall|red"
    r"|verlust\w*|perte|pérdida|perdita)\b",
    re.IGNORECASE,
)
_TIED_MINUS = re.compile(r"\b(?:negative|minus|(?:net )?loss|outflow|deficit)(?: of| at| was)?\s*$", re.IGNORECASE)
_TOWARDS = re.compile(
    r"\b(?:above|below|over|under|threshold|towards?|level|cross\w*|past|(?:line|mark|zone|territory) (?:of|at))\b|[<>]",
    re.IGNORECASE,
)
_MARK = re.compile(r"\s*(?:\w+ )?(?:threshold|level|line|mark|overbought|oversold)\b", re.IGNORECASE)
_DIFFERENCE = re.compile(r"\s*(?:\w+ )?(?:above|below|over|under|more|less|higher|lower|away|points?)\b", re.IGNORECASE)
_OF = re.compile(r"\s*of\b")


@dataclass(frozen=True)
class FigureClaim:
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

    def is_reversed(self, fact: InputFigure) -> bool:
        """A gain told as a loss, or the other way round; of a quantity that can be below zero its sign."""
        quantity = self.quantity
        if quantity.unit in ("%", "bp") and quantity.direction:
            return fact.value * quantity.direction < 0
        if fact.label not in _SIGNED or _family(fact.label) != _family(self.label):
            return False
        if quantity.value * fact.value < 0:
            return quantity.value < 0 or _MINUS.search(self.sentence) is None
        return fact.value > 0 and _TIED_MINUS.search(self.sentence, 0, self.at) is not None

    def labels(self, given: Inputs) -> list[str]:
        """Every quantity its sentence names, its own first, and what those are made of that were not given themselves."""
        if self.label == "elsewhere":
            return []
        own = [self.label] if self.label else []
        others = dict.fromkeys(name for name, *_ in named_in(self.sentence))
        said = own + [name for name in others if name != self.label][:3]
        return list(dict.fromkeys([*said, *(part for name in said if not given.named(name) for part in MADE_OF.get(name, ()))]))

    @property
    def is_convention(self) -> bool:
        """A proposal of the speaker's own, or a conventional mark such as RSI's 70: no claim about the world."""
        return self.quantity.own or self._is_threshold

    @property
    def _is_threshold(self) -> bool:
        named = {label for label, _, end in named_in(self.sentence) if end <= self.at} | {self.label or ""}
        if not any(self.quantity.value in _THRESHOLDS.get(label, ()) for label in named):
            return False
        before = self.sentence[max(0, self.at - 25) : self.at]
        return _TOWARDS.search(before) is not None or _MARK.match(self.sentence, self.end) is not None

    @property
    def is_plan(self) -> bool:
        """In a sentence about what to do or what may come, and it names no quantity that it claims to be."""
        is_free = self.tied_label is None or self.tied_label in SERIES or self.tied_label == "target"
        return is_free and is_planning(self.sentence)

    @property
    def is_difference(self) -> bool:
        return _DIFFERENCE.match(self.sentence, self.end) is not None


def _family(label: str | None) -> str | None:
    """MACD, its signal and its histogram are often told under one name."""
    return "macd" if label and label.startswith("macd") else label


def claims_of(text: str) -> Iterator[list[FigureClaim]]:
    found = quantities(text)
    place = 0
    for start, end in sentences(text):
        claims = []
        while place < len(found) and found[place].start < end:
            claims.append(FigureClaim(found[place], text[start:end], found[place].start - start))
            place += 1
        if claims:
            yield claims


_BESIDE = re.compile(r"\W*(\w{4,})")
_NEVER_BY_VALUE = frozenset({"target", "elsewhere"})
"""What others aim at and what statements do not show: a figure of that height, somewhere in the inputs, is no source of it."""
_NAMED = re.compile(r"(\w{3,})\s$")
LOW_PRECISION = 2
"""Digits up to which a figure is found somewhere by chance alone."""
_HEDGED = 0.025


def match(claim: FigureClaim, given: Inputs) -> InputFigure | None:
    """The fact that a figure shows, exactly or rounded. A figure of few digits must share its quantity or its words."""
    quantity = claim.quantity
    half = max(quantity.half, _HEDGED * abs(quantity.value)) if quantity.is_hedged else quantity.half
    found = [fact for fact in given.near(quantity.value, half) if same_unit(quantity.unit, fact.unit)]
    named = [fact for fact in found if fact.label is not None and fact.label == claim.label]
    if claim.label in _NEVER_BY_VALUE:
        return _closest(claim, named) if named else None
    if not named and quantity.digits <= LOW_PRECISION:
        named = [fact for fact in found if _is_quoted(claim, fact)]
        return _closest(claim, named) if named else None
    return _closest(claim, named or found) if found else None


def _is_quoted(claim: FigureClaim, fact: InputFigure) -> bool:
    """Whether the inputs show the very figure with a unit, with two decimals, or beside the same words."""
    if abs(abs(fact.value) - abs(claim.quantity.value)) > 1e-9 * abs(fact.value):
        return False
    beside = _BESIDE.match(claim.sentence, claim.end)
    is_beside = beside is not None and f"{claim.quantity.text}{beside[0]}".lower() in fact.line.lower()
    named = _NAMED.search(claim.sentence, 0, claim.at)
    is_name = named is not None and f"{named[1]} {claim.quantity.text}" in fact.line
    return bool(fact.unit) or claim.quantity.half < 0.01 or is_beside or is_name


def _closest(claim: FigureClaim, facts: Iterable[InputFigure]) -> InputFigure:
    size = abs(claim.quantity.value)
    return min(facts, key=lambda fact: (claim.is_reversed(fact), abs(abs(fact.value) - size)))
