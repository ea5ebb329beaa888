"""Quantities in prose: every figure of a text with its value, unit and precision; dates and window lengths are none."""

from __future__ import annotations

import re
from dataclasses import dataclass

from reports.tracing.not_figures import blank

_NUMBER = (
    r"\d{1,3}(?:,\d{3})+(?:\.\d+)?"  # 1,234.56
    r"|\d{1,3}(?:\.\d{3})+,\d+"  # 1.234,56
    r"|\d{1,3}(?:\.\d{3}){2,}"  # 1.234.567
    r"|\d{1,3}(?:[\u00a0\u202f'’]\d{3})+(?:[.,]\d+)?"  # 1 234,56
    r"|\d+[.,]\d+(?:[eE][+-]?\d{1,2})?"
    r"|\.\d+"
    r"|\d+"
)
_SCALES = {
    "k": 1e3,
    "thousand": 1e3,
    "m": 1e6,
    "mn": 1e6,
    "mm": 1e6,
    "mio": 1e6,
    "million": 1e6,
    "millions": 1e6,
    "b": 1e9,
    "bn": 1e9,
    "billion": 1e9,
    "billions": 1e9,
    "t": 1e12,
    "tn": 1e12,
    "trillion": 1e12,
}
_UNITS = {
    "%": "%",
    "percent": "%",
    "per cent": "%",
    "percentage points": "%",
    "percentage point": "%",
    "pct": "%",
    "pp": "%",
    "bp": "bp",
    "bps": "bp",
    "basis points": "bp",
    "x": "x",
    "times": "x",
    "usd": "$",
    "dollars": "$",
    "cents": "cents",
    "shares": "shares",
}
_FIGURE = re.compile(
    rf"(?=[-+−(\s$€£¥U\d.])(?P<open>\()?(?:(?<![\w.,%)])(?P<sign>[-+−]))?\s?(?P<currency>US\$|[$€£¥])?(?P<sign2>[-−])?(?P<number>(?<![\w.,])(?:{_NUMBER})|(?<=[$€£¥])(?:{_NUMBER}))"
    r"(?:[\s-]?(?P<scale>thousand|millions?|billions?|trillion|mn|bn|tn|mio)\b|(?P<letter>[kKmMbBtT])(?![\w]))?"
    r"(?:\s?(?P<unit>%|percentage points?|per ?cent|pct|pp|basis points|bps|bp|x|times|USD|dollars|cents|shares)(?![\w]))?"
    r"(?P<close>\)(?:\s(?P<after>thousand|millions?|billions?|trillion|mn|bn)\b)?)?"
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
_OWN = re.compile(
    r"\b(?:target|stop[- ]?loss|stop|entry|entries|enter\w*|exit\w*|take[- ]profit|position(?:s| siz\w+)?|size|sizing"
    r"|allocat\w+|portfolio|confidence|conviction|probabilit\w+|likelihood|score|trim|scale in|weight|exposure|risk budget"
    r"|hedge)\b",
    re.I,
)
_OWN_AFTER = re.compile(
    r"\s*(?:chance|probability|likelihood|confidence|conviction|certain|position|stake|allocation|weight)\b", re.I
)
_HEDGE = re.compile(
    r"(?:\b(?:about|around|nearly|roughly|approximately|almost|over|under|more than|less than|close to|near|circa|ca\.)|~|≈)"
    r"\s*(?:US)?[$€£]?\s*$",
    re.I,
)
_SMALL_COUNT = 12


@dataclass(frozen=True)
class Quantity:
    """One figure as it stands in a text."""

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
    """+1 or -1 where a sign or a verb beside it says so, else 0."""
    own: bool = False
    """The speaker's own proposal (target, stop, size, confidence): no claim about the world."""
    is_hedged: bool = False
    """Whether the speaker said about, nearly, over ...: then within 2.5 % counts as rounded."""


_MONEY = frozenset({"", "$", "shares", "x"})


def same_unit(one: str, other: str) -> bool:
    """Whether two units can speak of one thing: amounts and plain numbers are told either way."""
    return one == other or (one in _MONEY and other in _MONEY)


def quantities(text: str) -> list[Quantity]:
    """The figures of a text, in order. Linear in its length."""
    hidden = blank(text)
    return [quantity for match in _FIGURE.finditer(hidden) if (quantity := _quantity(hidden, match)) is not None]


def figures_of_source(line: str) -> list[Quantity]:
    """The figures of one line of the inputs: here also small counts and proposals are data."""
    found = (_quantity(line, match, keep_counts=True) for match in _FIGURE.finditer(blank(line)))
    return [quantity for quantity in found if quantity is not None]


def _quantity(text: str, match: re.Match[str], *, keep_counts: bool = False) -> Quantity | None:
    number, decimals = _parse(match["number"])
    if number is None:
        return None
    unit = _unit(match)
    scale = _scale(match)
    start, end = _bounds(match)
    before, after = _clause_around(text, start, end)
    is_hedged = _HEDGE.search(before) is not None
    if not keep_counts and not is_hedged and _is_count(match["number"], unit, scale, match["currency"]):
        return None
    negative = _is_negative(match)
    value = -number * scale if negative else number * scale
    return Quantity(
        start=start,
        end=end,
        text=text[start:end],
        value=value,
        half=0.5 * 10.0**-decimals * scale,
        digits=_significant(match["number"]),
        unit=unit,
        direction=_direction(match, negative, before, after),
        own=_OWN.search(before) is not None or _OWN_AFTER.match(after) is not None,
        is_hedged=is_hedged,
    )


_SPACES = re.compile(r"[\u00a0\u202f'’]")
_ENGLISH = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?")


def _parse(number: str) -> tuple[float | None, int]:
    text = _SPACES.sub("", number)
    if "," in text and _ENGLISH.fullmatch(text):
        text = text.replace(",", "")
    elif "," in text or text.count(".") > 1:
        text = text.replace(".", "").replace(",", ".")
    try:
        value = float(text)
    except ValueError:
        return None, 0
    mantissa, _, exponent = text.lower().partition("e")
    return value, len(mantissa.partition(".")[2]) - int(exponent or 0)


def _significant(number: str) -> int:
    digits = "".join(filter(str.isdigit, number.lower().partition("e")[0])).lstrip("0")
    return len(digits) if "." in number or "," in number else len(digits.rstrip("0")) or 1


def _unit(match: re.Match[str]) -> str:
    if match["unit"]:
        return _UNITS[" ".join(match["unit"].lower().split())]
    return "$" if match["currency"] else ""


def _scale(match: re.Match[str]) -> float:
    word = match["scale"] or match["letter"] or match["after"]
    return _SCALES[word.lower()] if word else 1.0


def _is_count(number: str, unit: str, scale: float, currency: str | None) -> bool:
    """A small bare integer counts things of the argument ("3 risks"), not facts of the market."""
    return not unit and scale == 1.0 and not currency and number.isdigit() and int(number) <= _SMALL_COUNT


def _bounds(match: re.Match[str]) -> tuple[int, int]:
    start = min(match.start(name) for name in ("sign", "currency", "sign2", "number") if match[name])
    end = max(match.end(name) for name in ("number", "scale", "letter", "unit") if match[name])
    if _is_accounting(match):
        start, end = match.start("open"), match.end("close")
    return start, end


def _is_accounting(match: re.Match[str]) -> bool:
    """(1,234) and ($5.2 million) are negative amounts; (12 %) is an aside."""
    return bool(match["open"] and match["close"] and not match["sign"] and (match["currency"] or "," in match["number"]))


def _is_negative(match: re.Match[str]) -> bool:
    return match["sign"] in ("-", "−") or bool(match["sign2"]) or _is_accounting(match)


_BREAK = re.compile(r"[;\n]|[.!?](?=\s|$)|,\s|\b(?:and|while|but|whereas)\b")


def _clause_around(text: str, start: int, end: int) -> tuple[str, str]:
    before = text[max(0, start - 60) : start]
    cuts = list(_BREAK.finditer(before))
    after = text[end : end + 30]
    cut = _BREAK.search(after)
    return before[cuts[-1].end() :] if cuts else before, after[: cut.start()] if cut else after


_LEVEL = re.compile(r"\b(?:to|at|of)\s*$")
_LESS = re.compile(r"\s*(?:lower|down|decline|drop|loss|decrease)\b", re.I)


def _direction(match: re.Match[str], negative: bool, before: str, after: str) -> int:
    """The sense of a change; a level ("fell to $94.9 billion") has none."""
    if negative:
        return -1
    if match["sign"] == "+":
        return 1
    if _unit(match) not in ("%", "bp") or _LEVEL.search(before):
        return 0
    verbs = [(found.start(), sign) for pattern, sign in ((_UP, 1), (_DOWN, -1)) for found in pattern.finditer(before)]
    if verbs:
        return max(verbs)[1]
    return -1 if _LESS.match(after) else 0
