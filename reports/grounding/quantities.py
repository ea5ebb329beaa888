"""Quantities in prose: every figure of a text with value, unit and precision, without dates and window lengths."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import zip_longest

from reports.grounding.numerals import (
    NUMBER,
    SCALE_WORD,
    UNIT_WORD,
    blank,
    labels_of_source,
    parse_number,
    scale_of,
    significant,
    unit_of,
)
from reports.grounding.proposals import is_proposal
from reports.grounding.sentences import END

_FIGURE = re.compile(
    rf"(?=[-+−(\s$€£¥U\d.])(?P<outer>(?:US\$|[$€£¥])(?=\())?(?P<open>\()?(?:(?<![\w.,%)])(?P<sign>[-+−]))?(?:(?P<currency>US\$|[$€£¥])(?P<sign2>[-−])?)?"
    rf"(?P<number>(?<![\w.,])(?:{NUMBER})|(?<=[$€£¥])(?:{NUMBER}))"
    rf"(?:[\s-]?(?P<scale>(?i:{SCALE_WORD}))\.?|(?P<letter>[kKmMbBtT])(?![\w]))?"
    rf"(?:\s?(?P<unit>(?i:{UNIT_WORD})))?"
    rf"(?P<close>\)(?:\s?(?P<after>(?i:{SCALE_WORD}))|(?P<after_letter>[kKmMbBtT])(?!\w))?(?:\s?(?P<after_unit>%|bps?\b|x\b))?)?"
)
_UP = re.compile(
    r"\b(?:rose|rising|risen|gain(?:ed|s|ing)?|up|increas\w+|climb\w*|grew|grow\w*|surg\w+|rall\w+|advanc\w+|expand\w*|improv\w*|jump\w*|higher|above)\b",
    re.I,
)
_DOWN = re.compile(
    r"\b(?:fell|fall\w*|drop\w*|down|declin\w+|decreas\w+|los(?:t|s|ses|ing)|slid\w*|slip(?:s|ped|ping)?|shed|contract(?:ed|s|ing)|slump\w*|shrank|shrink\w*|lower|below|plung\w+|tumbl\w+|negative)\b",
    re.I,
)
MOVES = re.compile(f"{_UP.pattern}|{_DOWN.pattern}", re.I)
_HEDGE = re.compile(
    r"(?:\b(?:about|around|nearly|roughly|approximately|almost|over|under|more than|less than|close to|near|circa|ca\.)|~|≈)"
    r"\s*(?:US)?[$€£]?\s*$",
    re.I,
)
_SMALL_COUNT = 12


@dataclass(frozen=True)
class Quantity:
    """One figure of a text."""

    start: int
    end: int
    text: str
    value: float
    """In plain units: 94.9 billion is 9.49e10; 12.3 % is 12.3; a parenthesised amount is negative."""
    half: float
    """Half a unit of the last digit shown: a value within it rounds to this figure."""
    digits: int
    """Significant digits shown."""
    unit: str
    """% | bp | x | $ | cents | shares | empty."""
    direction: int = 0
    """+1 or -1 from a sign or a nearby verb, else 0."""
    is_proposal: bool = False
    """A proposal (target, stop, size, confidence), not a claim about the world."""
    is_hedged: bool = False
    """Whether it is hedged (about, nearly, over ...): then a value within 2.5 % counts as rounded."""

    @property
    def slack(self) -> float:
        """Tolerance for a calculation that rounds to this figure."""
        return self.half * 1.05


_MONEY = frozenset({"", "$", "shares", "x"})


def same_unit(first: str, second: str) -> bool:
    """Whether two units are compatible; amounts are written with or without a currency."""
    return first == second or (first in _MONEY and second in _MONEY)


def quantities(text: str) -> list[Quantity]:
    """The figures of a text, in order. Linear in its length."""
    hidden = blank(text)
    around = _Around(hidden)
    read = ((match, _quantity(around, hidden, match)) for match in _FIGURE.finditer(hidden))
    pairs = [(match, quantity) for match, quantity in read if quantity is not None]
    return _listed(hidden, [_with_range(hidden, pair, after) for pair, after in zip_longest(pairs, pairs[1:])])


_LISTED = re.compile(r"\s?(?:-|–|—|/|,|\(|,?\s?(?:to|and|or|then)\b)\s?[$€£¥]?")


def _listed(text: str, quantities_in_order: list[Quantity]) -> list[Quantity]:
    """Mark figures listed after a proposal as proposals: "targets of $240, $250 and $260"."""
    listed: list[Quantity] = []
    for quantity in quantities_in_order:
        is_next = (
            bool(listed)
            and listed[-1].is_proposal
            and not quantity.is_proposal
            and _LISTED.fullmatch(text, listed[-1].end, quantity.start)
        )
        listed.append(replace(quantity, is_proposal=True) if is_next else quantity)
    return listed


_Read = tuple[re.Match[str], "Quantity"]
_RANGE = re.compile(r"\s?(?:-|–|—|to)\s?[$€£¥]?")


def _with_range(text: str, pair: _Read, after: _Read | None) -> Quantity:
    """Give the first figure of a range ("$5-6 billion", "30 to 40% chance") the unit, scale and meaning of the second."""
    match, quantity = pair
    if after is None or _unit(match) not in ("", "$") or _scale(match) != 1.0:
        return quantity
    end, second = after
    if not _RANGE.fullmatch(text, quantity.end, second.start):
        return quantity
    times = _scale(end)
    return replace(
        quantity,
        value=quantity.value * times,
        half=quantity.half * times,
        unit=second.unit or quantity.unit,
        is_proposal=quantity.is_proposal or second.is_proposal,
    )


def figures_of_source(line: str) -> list[Quantity]:
    """The figures of one line of the inputs, where small counts and proposals are data too."""
    hidden = blank(labels_of_source(line))
    around = _Around(hidden)
    read = (_quantity(around, hidden, match, keep_counts=True) for match in _FIGURE.finditer(hidden))
    return [quantity for quantity in read if quantity is not None]


def _quantity(around: _Around, text: str, match: re.Match[str], *, keep_counts: bool = False) -> Quantity | None:
    number, decimals = parse_number(match["number"])
    if number is None:
        return None
    unit_name = _unit(match)
    times = _scale(match)
    start, end = _bounds(match)
    before, after = around.before(start), around.after(end)
    is_hedged = _HEDGE.search(before) is not None
    if not keep_counts and not is_hedged and _is_count(match["number"], unit_name, times, match["currency"]):
        return None
    negative = _is_negative(match)
    value = -number * times if negative else number * times
    return Quantity(
        start=start,
        end=end,
        text=text[start:end],
        value=value,
        half=0.5 * 10.0**-decimals * times,
        digits=significant(match["number"]),
        unit=unit_name,
        direction=_direction(match, negative, before, after),
        is_proposal=is_proposal(before, after, around.sentence(start)),
        is_hedged=is_hedged,
    )


def _unit(match: re.Match[str]) -> str:
    unit_name = unit_of(match["unit"] or match["after_unit"])
    if unit_name is not None:
        return unit_name
    return "$" if match["currency"] or match["outer"] else ""


def _scale(match: re.Match[str]) -> float:
    return scale_of(match["scale"] or match["letter"] or match["after"] or match["after_letter"])


def _is_count(number: str, unit: str, scale: float, currency: str | None) -> bool:
    """Whether it is a small bare integer that counts something ("3 risks"), not market data."""
    return not unit and scale == 1.0 and not currency and number.isdigit() and int(number) <= _SMALL_COUNT


def _bounds(match: re.Match[str]) -> tuple[int, int]:
    start = min(match.start(name) for name in ("sign", "currency", "sign2", "number") if match[name])
    end = max(match.end(name) for name in ("number", "scale", "letter", "unit") if match[name])
    if _is_accounting(match):
        start, end = match.start("outer" if match["outer"] else "open"), match.end("close")
    return start, end


def _is_accounting(match: re.Match[str]) -> bool:
    """(1,234), ($5.2 million) and (5.2)% are negative amounts; (12 %) is an aside."""
    is_amount = match["currency"] or match["outer"] or "," in match["number"] or (match["close"] or "") > ")"
    return bool(match["open"] and match["close"] and not match["sign"] and is_amount)


def _is_negative(match: re.Match[str]) -> bool:
    return match["sign"] in ("-", "−") or bool(match["sign2"]) or _is_accounting(match)


_BREAK = re.compile(rf"(?=[;\n.!?,abw])(?:[;\n]|{END}|,\s|\b(?:and|while|but|whereas)\b)")
_END = re.compile(rf"{END}|\n")
_BEFORE, _AFTER, _FAR = 60, 30, 160
"""Characters that are considered: of the clause before and after a figure, and of its sentence before it."""


class _Around:
    """The clauses and sentences around figures; their borders are computed once."""

    def __init__(self, text: str) -> None:
        self._text = text
        breaks = [match.span() for match in _BREAK.finditer(text)]
        self._break_starts, self._break_ends = [start for start, _ in breaks], [end for _, end in breaks]
        self._ends = [match.end() for match in _END.finditer(text)]

    def before(self, start: int) -> str:
        """The clause before a figure."""
        return self._text[max(_last(self._break_ends, start), start - _BEFORE) : start]

    def after(self, end: int) -> str:
        """The clause after a figure."""
        place = bisect_left(self._break_starts, end)
        border = self._break_starts[place] if place < len(self._break_starts) else len(self._text)
        return self._text[end : min(border, end + _AFTER)]

    def sentence(self, start: int) -> str:
        """The last characters of the sentence before a figure."""
        return self._text[max(_last(self._ends, start), start - _FAR) : start]


def _last(places: Sequence[int], at: int) -> int:
    """The last position up to `at`, or the beginning."""
    count = bisect_right(places, at)
    return places[count - 1] if count else 0


_LEVEL = re.compile(r"\b(?:to|at|of)\s*$")
_LESS = re.compile(r"\s*(?:lower|down|decline|drop|loss|decrease)\b", re.I)


def _direction(match: re.Match[str], negative: bool, before: str, after: str) -> int:
    """The direction of a change; a level ("fell to $94.9 billion") has none."""
    if negative:
        return -1
    if match["sign"] == "+":
        return 1
    if _unit(match) not in ("%", "bp") or _LEVEL.search(before):
        return 0
    verbs = [(verb.start(), sign) for pattern, sign in ((_UP, 1), (_DOWN, -1)) for verb in pattern.finditer(before)]
    if verbs:
        return max(verbs)[1]
    return -1 if _LESS.match(after) else 0
