"""Names of quantities: which canonical quantity a piece of prose or a line of the inputs names."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

_START = re.compile(r"(?<![A-Za-z0-9])\S")
_BEFORE = re.compile(r"(?:\\b|\(\?<[!=][^)]*\))*")
"""Look-behinds and word boundaries before the first character."""
_SPECIAL = frozenset("\\[(.^$|?*+{")


class _Pattern(NamedTuple):
    label: str
    pattern: str
    first: str
    """Empty if it may start with several characters."""


class Alternatives:
    """Labelled patterns, matched at the start of words in their order; case-insensitive.

    Patterns are indexed by first character: trying seventy at every word would dominate the cost of grounding.
    """

    def __init__(self, patterns: Sequence[tuple[str, str]]) -> None:
        every = [_Pattern(label, each, _first(each)) for label, pattern in patterns for each in _split(pattern)]
        self._other = _joined(every, {""})
        lower = {each.first: _joined(every, {"", each.first}) for each in every if each.first}
        self._by_first = lower | {first.upper(): joined for first, joined in lower.items()}

    def finditer(self, text: str) -> Iterator[tuple[str, int, int]]:
        """Yield (label, start, end) of all matches, in order, without overlaps."""
        end = 0
        for start in (match.start() for match in _START.finditer(text)):
            if start < end:
                continue
            pattern, labels = self._by_first.get(text[start], self._other)
            if match := pattern.match(text, start):
                end = match.end()
                yield labels[(match.lastindex or 1) - 1], start, end


def _joined(every: Sequence[_Pattern], firsts: Collection[str]) -> tuple[re.Pattern[str], list[str]]:
    """One pattern of those with these first characters, and the label of each of its groups."""
    chosen = [each for each in every if each.first in firsts]
    return re.compile("|".join(f"({each.pattern})" for each in chosen) or "(?!)", re.IGNORECASE), [
        each.label for each in chosen
    ]


def _split(pattern: str) -> list[str]:
    """The top-level alternatives of a pattern."""
    parts, depth, start = [], 0, 0
    for match in re.finditer(r"\\.|\[(?:\\.|[^\]])*\]|[()|]", pattern):
        depth += (match.group() == "(") - (match.group() == ")")
        if match.group() == "|" and not depth:
            parts.append(pattern[start : match.start()])
            start = match.end()
    return [*parts, pattern[start:]]


def _first(pattern: str) -> str:
    match = _BEFORE.match(pattern)
    rest = pattern[match.end() if match else 0 :]
    is_sure = rest[:1] not in _SPECIAL and rest[1:2] not in ("?", "*", "{")
    return rest[:1].lower() if is_sure else ""


_PATTERNS: tuple[tuple[str, str], ...] = (
    (
        "sma_50",
        r"close_50_sma|50[\s-]?(?:day|session|period)?[\s-]?(?:simple )?(?:sma|ma|moving average|average)\b|sma[\s(_-]*50\b",
    ),
    (
        "sma_200",
        r"close_200_sma|200[\s-]?(?:day|session|period)?[\s-]?(?:simple )?(?:sma|ma|moving average|average)\b"
        r"|sma[\s(_-]*200\b",
    ),
    (
        "ema_10",
        r"close_10_ema|10[\s-]?(?:day|session|period)?[\s-]?(?:exponential )?(?:ema|moving average|average)\b"
        r"|ema[\s(_-]*10\b",
    ),
    ("macd_signal", r"\bmacds\b|macd signal|\bsignal(?: line)?\b"),
    ("macd_histogram", r"\bmacdh\b|histogram"),
    ("macd", r"\bmacd\b"),
    ("rsi", r"\brsi\b|relative strength index"),
    ("boll_width", r"bollinger bands\b|\bbands\b|band ?width\b|%b\b"),
    ("boll_upper", r"\bboll_ub\b|upper (?:bollinger )?band|bollinger upper"),
    ("boll_lower", r"\bboll_lb\b|lower (?:bollinger )?band|bollinger lower"),
    ("boll_middle", r"\bboll\b|(?:middle|mid) (?:bollinger )?band|bollinger middle"),
    ("atr", r"\batr\b|average true range"),
    ("vwma", r"\bvwma\b|volume[\s-]weighted (?:moving )?average"),
    (
        "elsewhere",
        r"\bbeta\b|\bpeg\b|\bev ?/ ?\w+|(?:net debt ?(?:/|to) ?)?ebitda\b|\bcet1\b|\btier 1\b|\bcapex\b"
        r"|capital expenditures?|\bbacklog\b|\bguidance\b"
        r"|\bconsensus\b|forward (?:p/?e|earnings)|comparable sales|same-store sales|organic (?:sales|growth)"
        r"|combined ratio|loan losses|net debt\b",
    ),
    ("high_52w", r"52[\s-]?w(?:ee)?k high"),
    ("low_52w", r"52[\s-]?w(?:ee)?k low"),
    ("current_ratio", r"current ratio|current assets / current liabilities"),
    ("debt_to_equity", r"debt[\s-]to[\s-]equity|debt / equity|\bdebt\b[^.;]{0,12} of equity"),
    ("dividend_yield", r"dividend yield|\byields?\b"),
    ("working_capital", r"working capital"),
    ("current_assets", r"current assets"),
    ("current_liabilities", r"current liabilities"),
    ("cost_of_revenue", r"cost of (?:revenue|sales|goods sold)|costs? and expenses"),
    ("research", r"research and development|\br&d\b"),
    ("overhead", r"selling,?(?: general,?)?(?: and)? administrative|\bsg&a\b"),
    ("pretax_income", r"(?:pre-?tax|before[\s-]tax(?:es)?) (?:income|profit|earnings)|before tax\b"),
    ("tax_rate", r"(?:effective )?tax rate"),
    ("income_tax", r"income tax(?:es)?|tax expense|\btaxes\b"),
    ("inventory", r"\binventor(?:y|ies)\b"),
    ("gross_margin", r"gross(?: profit)? margin"),
    ("operating_margin", r"operating margin"),
    ("net_margin", r"(?:net|profit) (?:profit |income )?margin"),
    (
        "revenue",
        r"(?<!subscription )(?<!services )(?<!service )(?<!cloud )(?<!product )(?<!advertising )(?<!segment )\brevenues?\b"
        r"|\bnet sales\b|\bsales\b",
    ),
    ("gross_profit", r"gross profit"),
    ("operating_income", r"operating (?:income|profit|earnings)"),
    (
        "net_income",
        r"net (?:income|profit|earnings|loss)|(?<!gross )(?<!operating )\bprofits?\b(?! margin)",
    ),
    ("eps", r"\beps\b|earnings per share"),
    (
        "net_cash_flow",
        r"net (?:cash flow(?! from)|change in cash)|\bcash (?:shrank|fell|declined|decreased|rose|increased|grew) by",
    ),
    ("return_on_equity", r"return on equity|\broe\b"),
    ("operating_cash_flow", r"(?:operating cash flow|cash (?:flow )?from operat\w+)"),
    ("free_cash_flow", r"free cash flow"),
    ("total_assets", r"total assets|(?<!current )(?<!fixed )(?<!intangible )\bassets\b(?! /)"),
    ("total_liabilities", r"(?:total )?liabilities(?! and equity| / equity)"),
    ("equity", r"(?:shareholders|stockholders)['’]? equity|\bequity\b(?! method| attributable)"),
    ("cash", r"\bcash(?: and cash equivalents| position| pile)?\b(?! flow)"),
    ("debt", r"(?:long[\s-]term |total )?debt\b"),
    ("pe", r"\bp/?e\b(?: ratio| multiple)?|price[\s-](?:to|/)[\s-]earnings|price / earnings"),
    ("pb", r"\bp/?b\b|price[\s-](?:to|/)[\s-]book"),
    ("ps", r"\bp/?s\b|price[\s-](?:to|/)[\s-]sales"),
    (
        "market_cap",
        r"market (?:cap(?:itali[sz]ation)?|value)",
    ),
    ("dividend", r"(?<!preferred stock )dividends?\b|\bpayout\b(?! ratio)"),
    ("target", r"(?:price )?targets?\b|target price"),
    ("volume", r"\bvolume\b|\bvol\b|(?<!asset )(?<!inventory )\bturnover\b|shares (?:traded|changed hands)"),
    ("open", r"\bopen(?:ed|ing)?\b(?! interest)"),
    ("high", r"\bhigh\b"),
    ("low", r"\blow\b"),
    (
        "close",
        r"\bclos(?:e|ed|ing)(?: price)?\b(?! to\b)|last price|current price|share price|\btrad(?:es|ing|ed) at\b|stock price",
    ),
    ("return", r"\breturns?\b|\bmomentum\b|\bsessions?\b|\bperformance\b"),
)
MADE_OF: Mapping[str, tuple[str, ...]] = {
    "working_capital": ("current_assets", "current_liabilities"),
    "current_ratio": ("current_assets", "current_liabilities"),
    "boll_width": ("boll_upper", "boll_lower"),
    "tax_rate": ("income_tax", "pretax_income"),
    "gross_margin": ("gross_profit", "revenue"),
    "operating_margin": ("operating_income", "revenue"),
    "net_margin": ("net_income", "revenue"),
    "debt_to_equity": ("debt", "equity"),
    "dividend_yield": ("dividend", "close"),
    "return_on_equity": ("net_income", "equity"),
}
"""Parts of a ratio or a difference, for sentences that name only the result."""
SERIES = frozenset({"open", "high", "low", "close", "volume", "return", "dividend", "cash", "equity", "debt"})
"""Quantities with many values: a different value is no contradiction."""


_LEAD = re.compile(r"\s*(?:in |of |as |for )?(?:total |quarterly |annual )?")
_TIE = re.compile(
    r"[\s,:=(]*(?:(?:ratio|price|line|level|value|reading|band|margin|is|was|are|at|of|to|stands?|stood|sits?|lies|has"
    r"|had|came|in|reached|climbed|rose"
    r"|risen|fell|fallen|dropped|increased|decreased|declined|grew|turned|gained|lost|by|about|around|nearly|roughly"
    r"|close|currently|now|just|only|slightly"
    r"|the|a|an|its|an?|positive|negative|with|for|and|acts?|from|up|down)\b[\s,:=(]*)*$",
    re.IGNORECASE,
)


_Named = tuple[str, int, int]


@lru_cache(maxsize=4096)
def named_in(text: str) -> tuple[_Named, ...]:
    """Every quantity named in a text, in order, with start and end."""
    return tuple(_finder().finditer(text))


@lru_cache(maxsize=1)
def _finder() -> Alternatives:
    """Compiled on first use, because it takes half a second."""
    return Alternatives(_PATTERNS)


def label_before(text: str, at: int | None = None) -> str | None:
    """The last quantity named before a position (default: the end of the text)."""
    named = _last(text, len(text) if at is None else at)
    return named[0] if named else None


def tied_label(text: str, at: int) -> str | None:
    """The last quantity named before a position, if only small words are in between."""
    named = _last(text, at)
    return named[0] if named and _TIE.match(text[named[2] : at]) else None


def label_after(text: str, at: int) -> str | None:
    """The quantity named right after a position ("72 RSI", "$94.9 billion in revenue")."""
    match = _LEAD.match(text, at)
    start = match.end() if match else at
    return next((label for label, begin, _ in named_in(text) if begin == start), None)


def _last(text: str, at: int) -> _Named | None:
    last = None
    for named in named_in(text):
        if named[2] > at:
            break
        last = named
    return last
