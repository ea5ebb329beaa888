"""How numbers are written, and what only looks like a figure."""

from __future__ import annotations

import re

SCALES = {
    "k": 1e3,
    "thousand": 1e3,
    "m": 1e6,
    "mn": 1e6,
    "mm": 1e6,
    "mln": 1e6,
    "million": 1e6,
    "millions": 1e6,
    "b": 1e9,
    "bn": 1e9,
    "bln": 1e9,
    "billion": 1e9,
    "billions": 1e9,
    "t": 1e12,
    "tn": 1e12,
    "trn": 1e12,
    "trillion": 1e12,
    "trillions": 1e12,
}
"""Factor of each scale word."""
UNITS = {
    "%": "%",
    "percent": "%",
    "per cent": "%",
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
    "$": "$",
    "€": "$",
    "cents": "cents",
    "shares": "shares",
}
"""Unit as written -> unit."""


def _alternatives(*, of: dict[str, float] | dict[str, str]) -> str:
    """The words of a table as regex alternatives, longest first."""
    return "|".join(r"\s?".join(map(re.escape, word.split())) for word in sorted(of, key=len, reverse=True) if len(word) > 1)


SCALE_WORD = rf"(?:{_alternatives(of=SCALES)})\b"
UNIT_WORD = rf"(?:{_alternatives(of=UNITS)}|x|%|×|[$€](?!\d))(?!\w)"
NUMBER = (
    r"\d{1,3}(?:,\d{3})+(?:\.\d+)?"  # 1,234.56
    r"|\d{1,3}(?:\.\d{3})+,\d+"  # 1.234,56
    r"|\d{1,3}(?:\.\d{3}){2,}"  # 1.234.567
    r"|\d{1,3}(?:[\u00a0\u202f\u2009'’]\d{3})+(?:[.,]\d+)?"  # 1 234,56 with narrow spaces
    rf"|\d{{1,3}}(?: \d{{3}})+(?:,\d+|(?=\s?(?i:{SCALE_WORD}|{UNIT_WORD}|[kmb][$€])))"  # 1 234,56 and 12 700 million
    r"|\d+[.,]\d+(?:[eE][+-]?\d{1,2})?"
    r"|\.\d+"
    r"|\d+"
)
_SPACES = re.compile(r"[ \u00a0\u202f\u2009'’]")
_ENGLISH = re.compile(r"\d{1,3}(?:,\d{3})+(?:\.\d+)?")


def parse_number(number: str) -> tuple[float | None, int]:
    """Value and decimals of a number matched by NUMBER."""
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


def significant(number: str) -> int:
    """Number of significant digits."""
    digits = "".join(filter(str.isdigit, number.lower().partition("e")[0])).lstrip("0")
    return len(digits) if "." in number or "," in number else len(digits.rstrip("0")) or 1


def scale_of(word: str | None) -> float:
    return SCALES[word.lower()] if word else 1.0


def unit_of(word: str | None) -> str | None:
    return UNITS[" ".join(word.lower().split())] if word else None


_MONTH = (
    r"(?:jan(?:uary)?|feb(?:ruary)?|mar(?:ch)?|apr(?:il)?|may|june?|july?|aug(?:ust)?|sept?(?:ember)?|oct(?:ober)?"
    r"|nov(?:ember)?|dec(?:ember)?)\.?"
)
_SPAN = r"(?:day|session|week|month|quarter|year|period|hour|minute|bar|trading[- ]day|decade|yr|mo|wk)s?"

_OF_TIME = r"(?:trading|calendar|business|consecutive|straight|full|more|older|earlier)"

_OF_DIGITS = (
    r"\d{4}-\d{2}(?:-\d{2})?(?:T[\d:.]+Z?)?\b",  # 2025-05-15
    r"\d{1,2}/\d{1,2}/\d{2,4}\b",
    r"\d{1,2}\.\s?\d{1,2}\.\s?(?:19|20)\d{2}\b",  # 15.05.2025
    rf"\d{{1,2}}(?:st|nd|rd|th)?[\s-]+(?:of\s+)?{_MONTH}(?:,?[\s-]+\d{{4}})?\b",
    r"\d{1,2}:\d{2}(?::\d{2})?(?:\s*[ap]\.?m\.?)?\b",
    r"\d{1,2}\s*[ap]\.?m\b\.?",
    r"\d+(?:st|nd|rd|th)\b",  # ordinals
    rf"\d+(?:\.\d+)?(?:\s*(?:-|–|to)\s*\d+)?[\s-]+(?:{_OF_TIME}[\s-])?{_SPAN}\b",  # 50-day, 3 to 6 months
    r"\d+[\s-]?D?(?:VW|[SEWV])?MA\b",  # 50-DMA
    r"\d{1,4}-?(?:[DWYQH]|wks?|mos?|yrs?)\b",  # 20d, 5Y
    r"(?<![.,])\d{1,2}M(?=\s?:|[\s-](?:returns?|momentum|performance|highs?|lows?|trailing|forward|change)\b)",
    r"\d+(?:\.\d+)?:\d+(?:\.\d+)?(?![\d%])",  # 2.5:1
    r"(?<![$.,])7[0-8]7(?![\d%]|[.,]\d|\s*(?:%|percent|million|billion))",  # aircraft
    r"(?:10-[KQ]|8-K|20-F|6-K|13[DFG]|401\(?k\)?|5G|4G|3M|24/7|1H|2H)\b",
    r"(?:19|20)\d{2}s?(?:\s*[-–/]\s*(?:19|20)?\d{2})?(?![\d,.]*\d|\s*(?:%|percent|million|billion|shares|dollars|points))\b",
)
"""Patterns that start with a digit at the start of a word."""
_SECTION = r"(?<![\w.])\d{1,3}(?:\.\d{1,2}){2,}(?![\d,])"
"""2.5.1: a section or a version."""
_OF_LETTERS = (
    rf"{_MONTH}\s+\d{{1,2}}(?:st|nd|rd|th)?(?:\s*(?:-|–|to)\s*\d{{1,2}})?(?:,?\s+\d{{4}})?\b",
    r"(?:RSI|ATR|CCI|ROC|MFI|ADX|Bollinger)\s?\(\d+(?:\s*,\s*\d+)*\)",
    r"(?:SMA|EMA|WMA|VWMA|MA)[\s_-]?\(?\d++(?!\.\d|,\d)\)?",
    r"MACD\s*\(\s*\d+(?:\s*,\s*\d+)*\s*\)",
    r"(?:FY|Q|H|CY)\s?'?\d{1,4}(?:\s*(?:FY|of)?\s*'?\d{2,4})?\b",
    r"(?:S&P|Russell|Nasdaq|NASDAQ|FTSE|Stoxx|Nikkei|Fortune|Dow)[\s-]?\d{2,4}\b",
    r"(?:COVID-19|Web\s?3(?:\.0)?|[A-Za-z]+-\d+[A-Za-z]?)\b",
    r"(?:Item|Section|Part|Phase|Cohort|Stage|Grade|Type|Class|Round|Level|Step|Tier|Chapter|Note|Figure|Table|Form|Rule|Title|Article"
    r"|Scenario|Option|Windows|iPhone|Boeing|Flight)\s+\d+[a-z]?\b",
    r"[A-Za-z]+\d+(?:\.\d+)?-\d+[A-Za-z]?\b",  # llama3.1-8b
)
"""Patterns that start with a letter at the start of a word."""
_NAMES = r"\w*[A-Za-z_]\w*_\d+\w*|\w*\d+_[A-Za-z]\w*"
"""close_50_sma."""
_ELSEWHERE = (
    r"(?:^|\n)[ \t>*_#-]*\(?\d{1,3}[.):](?=[\s*_])",  # list numbers
    r"(?<!\w)#+[ \t]?\d+(?:\.\d+)*\b",  # a numbered heading, #3
    r"\[\d{1,3}\]",
)
# Checking the first character makes alternatives free where they cannot match.
_NOT_FIGURES = re.compile(
    rf"(?=\d)(?:\b(?:{'|'.join(_OF_DIGITS)})|{_SECTION})"
    rf"|(?=[a-z_])\b(?:{'|'.join(_OF_LETTERS)})|{'|'.join(_ELSEWHERE)}|\b(?:{_NAMES})",
    re.IGNORECASE,
)
_LONG = re.compile(r"\w{48,}")
"""Longer than any figure; patterns for words with digits would take quadratic time on it."""


def blank(text: str) -> str:
    """The text with everything that only looks like a figure replaced, positions unchanged."""
    return _NOT_FIGURES.sub(_blots, _LONG.sub(_blots, text))


def _blots(match: re.Match[str]) -> str:
    return "\x00" * len(match.group())


_SPANS_OF_SOURCE = re.compile(r"(?<![\w.,])\d+(?= [+-]\d)")


def labels_of_source(line: str) -> str:
    """A line of the inputs without the window lengths before its values ("5 +6.94 %, 20 -2.52 %")."""
    return _SPANS_OF_SOURCE.sub(_blots, line)
