"""Claims: the figures of a text within their sentences, the quantity each names, and the input figure it matches."""

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
}
_SIGNED = frozenset(
    {
        *("macd", "macd_signal", "macd_histogram", "eps", "operating_cash_flow", "free_cash_flow"),
        *("net_income", "operating_income", "pretax_income", "gross_profit", "gross_margin", "operating_margin", "net_margin"),
    }
)
"""Quantities that can be negative, so that their sign matters."""
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
        """The quantity that it names directly, with only small words in between."""
        return self._named_after or tied_label(self.sentence, self.at)

    @property
    def _named_after(self) -> str | None:
        """The quantity named right after it; "5 % of revenue" is a share, not a revenue."""
        is_share = self.quantity.unit == "%" and _OF.match(self.sentence, self.end)
        return None if is_share else label_after(self.sentence, self.end)

    @cached_property
    def label(self) -> str | None:
        """The quantity named right after it, else the last one before it; an unnamed gain or loss is a return."""
        named = self._named_after or label_before(self.sentence, self.at)
        return named or ("return" if self.quantity.unit == "%" and self._moves else None)

    @property
    def _moves(self) -> bool:
        return self.quantity.direction != 0 or MOVES.search(self.sentence) is not None

    def is_reversed(self, fact: InputFigure) -> bool:
        """Whether a gain is stated as a loss or the reverse, or a signed quantity has the wrong sign."""
        quantity = self.quantity
        if quantity.unit in ("%", "bp") and quantity.direction:
            return fact.value * quantity.direction < 0
        if fact.label not in _SIGNED or _family(fact.label) != _family(self.label):
            return False
        if quantity.value * fact.value < 0:
            return quantity.value < 0 or _MINUS.search(self.sentence) is None
        return fact.value > 0 and _TIED_MINUS.search(self.sentence, 0, self.at) is not None

    def labels(self, inputs: Inputs) -> list[str]:
        """Quantities named in its sentence, its own first, and the parts of those that are not in the inputs."""
        if self.label == "elsewhere":
            return []
        own_label = [self.label] if self.label else []
        other_labels = dict.fromkeys(name for name, *_ in named_in(self.sentence))
        sentence_labels = own_label + [name for name in other_labels if name != self.label][:3]
        return list(
            dict.fromkeys(
                [
                    *sentence_labels,
                    *(part for name in sentence_labels if not inputs.named(name) for part in MADE_OF.get(name, ())),
                ]
            )
        )

    @property
    def is_convention(self) -> bool:
        """Whether it is a proposal or a conventional threshold such as RSI 70, and so no claim about the world."""
        return self.quantity.is_proposal or self._is_threshold

    @property
    def _is_threshold(self) -> bool:
        named = {label for label, _, end in named_in(self.sentence) if end <= self.at} | {self.label or ""}
        if not any(self.quantity.value in _THRESHOLDS.get(label, ()) for label in named):
            return False
        before = self.sentence[max(0, self.at - 25) : self.at]
        return _TOWARDS.search(before) is not None or _MARK.match(self.sentence, self.end) is not None

    @property
    def is_plan(self) -> bool:
        """Whether it is in a sentence about a plan or scenario and names no quantity."""
        is_free = self.tied_label is None or self.tied_label in SERIES or self.tied_label == "target"
        return is_free and is_planning(self.sentence)

    @property
    def is_difference(self) -> bool:
        return _DIFFERENCE.match(self.sentence, self.end) is not None


def _family(label: str | None) -> str | None:
    """MACD, its signal and its histogram often share one name."""
    return "macd" if label and label.startswith("macd") else label


def claims_of(text: str) -> Iterator[list[FigureClaim]]:
    all_quantities = quantities(text)
    place = 0
    for start, end in sentences(text):
        claims = []
        while place < len(all_quantities) and all_quantities[place].start < end:
            claims.append(FigureClaim(all_quantities[place], text[start:end], all_quantities[place].start - start))
            place += 1
        if claims:
            yield claims


_BESIDE = re.compile(r"\W*(\w{4,})")
_NEVER_BY_VALUE = frozenset({"target", "elsewhere"})
"""Quantities that are not in the inputs: an equal number elsewhere in the inputs is not their source."""
_NAMED = re.compile(r"(\w{3,})\s$")
LOW_PRECISION = 2
"""Up to this many digits a figure is found somewhere by chance."""
_HEDGED = 0.025


def match(claim: FigureClaim, inputs: Inputs) -> InputFigure | None:
    """The input figure that a claim states, exactly or rounded. With few digits it must share the quantity or the words."""
    quantity = claim.quantity
    half = max(quantity.half, _HEDGED * abs(quantity.value)) if quantity.is_hedged else quantity.half
    candidates = [fact for fact in inputs.near(quantity.value, half) if same_unit(quantity.unit, fact.unit)]
    named = [fact for fact in candidates if fact.label is not None and fact.label == claim.label]
    if claim.label in _NEVER_BY_VALUE:
        return _closest(claim, named) if named else None
    if not named and quantity.digits <= LOW_PRECISION:
        named = [fact for fact in candidates if _is_quoted(claim, fact)]
        return _closest(claim, named) if named else None
    return _closest(claim, named or candidates) if candidates else None


def _is_quoted(claim: FigureClaim, fact: InputFigure) -> bool:
    """Whether the inputs contain this exact figure with a unit, with two decimals, or next to the same words."""
    if abs(abs(fact.value) - abs(claim.quantity.value)) > 1e-9 * abs(fact.value):
        return False
    next_word = _BESIDE.match(claim.sentence, claim.end)
    is_beside = next_word is not None and f"{claim.quantity.text}{next_word[0]}".lower() in fact.line.lower()
    named = _NAMED.search(claim.sentence, 0, claim.at)
    is_name = named is not None and f"{named[1]} {claim.quantity.text}" in fact.line
    return bool(fact.unit) or claim.quantity.half < 0.01 or is_beside or is_name


def _closest(claim: FigureClaim, facts: Iterable[InputFigure]) -> InputFigure:
    size = abs(claim.quantity.value)
    return min(facts, key=lambda fact: (claim.is_reversed(fact), abs(abs(fact.value) - size)))
