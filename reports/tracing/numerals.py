"""How numbers are written: digits in several locales, words and letters of scale, units."""

from __future__ import annotations

import re

SCALES = {
    "k": 1e3,
    "thousand": 1e3,
    "tausend": 1e3,
    "tsd": 1e3,
    "m": 1e6,
    "mn": 1e6,
    "mm": 1e6,
    "mln": 1e6,
    "mio": 1e6,
    "million": 1e6,
    "millions": 1e6,
    "millionen": 1e6,
    "millones": 1e6,
    "milioni": 1e6,
    "b": 1e9,
    "bn": 1e9,
    "bln": 1e9,
    "mrd": 1e9,
    "billion": 1e9,
    "billions": 1e9,
    "milliard": 1e9,
    "milliards": 1e9,
    "milliarde": 1e9,
    "milliarden": 1e9,
    "miliardi": 1e9,
    "t": 1e12,
    "tn": 1e12,
    "trn": 1e12,
    "trillion": 1e12,
    "trillions": 1e12,
    "billionen": 1e12,
    "billones": 1e12,
}
"""What a number is multiplied with."""
UNITS = {
    "%": "%",
    "percent": "%",
    "per cent": "%",
    "prozent": "%",
    "percentage points": "%",
    "percentage point": "%",
    "pct": "%",
    "pp": "%",
    "pts": "",
    "bp": "bp",
    "bps": "bp",
    "basis points": "bp",
    "basis point": "bp",
    "x": "x",
    "×": "x",
    "times": "x",
    "usd": "$",
    "dollars": "$",
    "dollar": "$",
    "dólares": "$",
    "dollari": "$",
    "$": "$",
    "€": "$",
    "cents": "cents",
    "shares": "shares",
}
"""Unit as written -> unit."""


def _words(*, of: dict[str, float] | dict[str, str]) -> str:
    """The words of a table as alternatives, the longest first."""
    return "|".join(r"\s?".join(map(re.escape, word.split())) for word in sorted(of, key=len, reverse=True) if len(word) > 1)


SCALE_WORD = rf"(?:{_words(of=SCALES)})\b"
UNIT_WORD = rf"(?:{_words(of=UNITS)}|x|%|×|[$€](?!\d))(?!\w)"
_ABROAD = r"\s?(?:tsd|tausend|mio|mln|mrd|millionen|millones|milioni|milliard|miliardi)"
NUMBER = (
    r"\d{1,3}(?:,\d{3})+(?:\.\d+)?"  # 1,234.56
    r"|\d{1,3}(?:\.\d{3})+,\d+"  # 1.234,56
    r"|\d{1,3}(?:\.\d{3}){2,}"  # 1.234.567
    rf"|\d{{1,3}}(?:\.\d{{3}})(?=(?i:{_ABROAD}))"  # 12.700 Mio.
    r"|\d{1,3}(?:[\u00a0\u202f\u2009'’]\d{3})+(?:[.,]\d+)?"  # 1 234,56 with narrow spaces
    rf"|\d{{1,3}}(?: \d{{3}})+(?:,\d+|(?=\s?(?i:{SCALE_WORD}|{UNIT_WORD}|[kmb][$€])))"  # 1 234,56 and 12 700 million
    r"|\d+[.,]\d+(?:[eE][+-]?\d{1,2})?"
    r"|\.\d+"
    r"|\d+"
)
_SPACES = re.compile(r"[ \u00a0\u202f\u2009'’]")
_ENGLISH = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?")
_THOUSANDS = re.compile(r"\d{1,3}\.\d{3}")


def parse(number: str, after: str) -> tuple[float | None, int]:
    """Value and decimals shown of a number as NUMBER finds it, and what follows it."""
    text = _SPACES.sub("", number)
    if "," in text and _ENGLISH.fullmatch(text):
        text = text.replace(",", "")
    elif "," in text or text.count(".") > 1 or (_THOUSANDS.fullmatch(text) and re.match(_ABROAD, after, re.I)):
        text = text.replace(".", "").replace(",", ".")
    try:
        value = float(text)
    except ValueError:
        return None, 0
    mantissa, _, exponent = text.lower().partition("e")
    return value, len(mantissa.partition(".")[2]) - int(exponent or 0)


def significant(number: str) -> int:
    """How many digits of a number say something."""
    digits = "".join(filter(str.isdigit, number.lower().partition("e")[0])).lstrip("0")
    return len(digits) if "." in number or "," in number else len(digits.rstrip("0")) or 1


def scale(word: str | None) -> float:
    return SCALES[word.lower()] if word else 1.0


def unit(word: str | None) -> str | None:
    return UNITS[" ".join(word.lower().split())] if word else None
