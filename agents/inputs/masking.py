"""Masking: the same snapshot without ticker, names and dates, and with rescaled figures."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import replace

from agents.inputs.datum import Bar, Fact, Indicator, Insider, News
from agents.inputs.snapshot import MASK, Snapshot

VOLUME = 1e6
"""Mean volume of the last 20 sessions after rescaling."""
_MONTHS = (
    *("Jan(?:uary)?", "Feb(?:ruary)?", "Mar(?:ch)?", "Apr(?:il)?", "May", "June?", "July?", "Aug(?:ust)?"),
    *("Sept?(?:ember)?", "Oct(?:ober)?", "Nov(?:ember)?", "Dec(?:ember)?"),
)
_MONTH = rf"(?:{'|'.join(_MONTHS)})"
_LONG_MONTH = r"(?:January|February|April|August|September|October|November|December)"
_FORMS = (
    r"\b\d{4}-\d\d-\d\d\b",
    r"\b\d{1,2}/\d{1,2}/\d{2,4}\b",
    rf"\b{_MONTH}\.? \d{{1,2}}(?:st|nd|rd|th)?\b(?:,? \d{{4}})?",
    rf"\b\d{{1,2}} {_MONTH}\b(?:,? \d{{4}})?",
    rf"\b{_MONTH}\.? \d{{4}}\b",
    rf"\b{_LONG_MONTH}\b",
    r"(?:\b[QH][1-4] ?|\bFY ?'?)?\b(?:19|20)\d\d\b",
)
_DATES = re.compile("|".join(_FORMS))
_LEGAL = re.compile(r",? (?:Inc|Incorporated|Corp|Corporation|Co|Company|Companies|Group|Holdings?|Ltd|plc)\.?$", re.I)


def mask(snapshot: Snapshot) -> Snapshot:
    """The snapshot with the last close and the newest filed revenue rescaled to 100, and texts without names and dates."""
    scale = 100.0 / snapshot.last.close
    volumes = [bar.volume for bar in snapshot.prices[-20:]]
    shares = VOLUME / (sum(volumes) / len(volumes)) if sum(volumes) else 1.0
    money = _money(snapshot)
    hide = neuter(snapshot.ticker, snapshot.name)
    return replace(
        snapshot,
        masked=True,
        scale=scale,
        name=None,
        prices=tuple(_bar(bar, scale, shares) for bar in snapshot.prices),
        dividends=tuple(paid._replace(amount=_round(paid.amount * scale)) for paid in snapshot.dividends),
        indicators=tuple(_indicator(indicator, scale, hide) for indicator in snapshot.indicators),
        returns=tuple(_indicator(value, 1.0, hide) for value in snapshot.returns),
        news=tuple(_news(item, hide) for item in snapshot.news),
        filings=tuple(_fact(fact, scale, money) for fact in snapshot.filings),
        insiders=tuple(_trade(trade, scale, money) for trade in snapshot.insiders),
        macro=(),
        absent=_absent(snapshot, hide),
    )


def neuter(ticker: str, name: str | None) -> Callable[[str], str]:
    """Return a function that removes this company's names and all dates from a text."""
    names = [*NICKNAMES.get(ticker, ()), *([name, _LEGAL.sub("", name)] if name else [])]
    spelled = "|".join(re.escape(name) for name in sorted(names, key=len, reverse=True))
    company = re.compile(rf"\b(?:{spelled})(?!\w)", re.I) if spelled else None
    symbol = re.compile(rf"\$?(?<![\w-]){re.escape(ticker)}(?![\w-])")

    def hidden(text: str) -> str:
        without = company.sub(MASK, text) if company else text
        return _DATES.sub("[date]", symbol.sub(MASK, without))

    return hidden


def _money(snapshot: Snapshot) -> float:
    """Factor that makes the newest filed revenue 100, or else the largest filed amount."""
    money = [fact for fact in snapshot.filings if fact.unit == "USD" and fact.value > 0]
    revenues = [fact for fact in money if fact.item == "revenues"]
    if revenues:
        return 100.0 / max(revenues, key=lambda fact: (fact.period_end, fact.available_at)).value
    return 100.0 / max((fact.value for fact in money), default=100.0)


def _bar(bar: Bar, scale: float, shares: float) -> Bar:
    open_, high, low, close = (_round(price * scale) for price in bar[1:5])
    return Bar(bar.date, open_, high, low, close, float(round(bar.volume * shares)), bar.available_at)


def _indicator(indicator: Indicator, scale: float, hide: Callable[[str], str]) -> Indicator:
    factor = 1.0 if indicator.name == "rsi" else scale
    value, previous = (None if number is None else _round(number * factor) for number in (indicator.value, indicator.previous))
    return indicator._replace(value=value, previous=previous, reason=hide(indicator.reason) if indicator.reason else None)


def _news(item: News, hide: Callable[[str], str]) -> News:
    return item._replace(title=hide(item.title), summary=hide(item.summary))


def _fact(fact: Fact, scale: float, money: float) -> Fact:
    """Per-share figures scale with the price, amounts with the revenue, share counts with both, so that ratios stay."""
    unit = fact.unit.lower()
    factor = scale if "/" in unit else money / scale if unit == "shares" else money if unit == "usd" else 1.0
    return fact._replace(value=_round(fact.value * factor), fiscal_year="")


def _trade(trade: Insider, scale: float, money: float) -> Insider:
    shares = None if trade.shares is None else _round(trade.shares * money / scale)
    return trade._replace(
        person="an insider", shares=shares, price=None if trade.price is None else _round(trade.price * scale)
    )


def _absent(snapshot: Snapshot, hide: Callable[[str], str]) -> Mapping[str, str]:
    reasons = {part: hide(why) for part, why in snapshot.absent.items()}
    if snapshot.macro:
        reasons["macro"] = "withheld: levels of economic series tell the date"
    if not snapshot.name and snapshot.ticker not in NICKNAMES:
        reasons["name"] = "the company's name is unknown to the sources: in texts only its ticker was neutered"
    return reasons


def _round(value: float) -> float:
    return float(f"{value:.8g}")


NICKNAMES: Mapping[str, tuple[str, ...]] = {
    "AAPL": ("Apple", "iPhone", "iPad", "Tim Cook", "Steve Jobs"),
    "AMGN": ("Amgen",),
    "AMZN": ("Amazon", "AWS", "Andy Jassy", "Bezos"),
    "AXP": ("American Express", "Amex"),
    "BA": ("Boeing",),
    "BAC": ("Bank of America", "BofA"),
    "CAT": ("Caterpillar",),
    "CRM": ("Salesforce", "Benioff"),
    "CSCO": ("Cisco",),
    "CVX": ("Chevron",),
    "DIS": ("Walt Disney", "Disney"),
    "FB": ("Facebook", "Zuckerberg"),
    "GOOG": ("Google", "Alphabet", "YouTube", "Pichai"),
    "GOOGL": ("Google", "Alphabet", "YouTube", "Pichai"),
    "GS": ("Goldman Sachs", "Goldman"),
    "HD": ("Home Depot",),
    "HON": ("Honeywell",),
    "IBM": ("International Business Machines", "Big Blue", "Red Hat"),
    "INTC": ("Intel",),
    "JNJ": ("Johnson & Johnson", "J&J"),
    "JPM": ("JPMorgan Chase", "JPMorgan", "JP Morgan", "Jamie Dimon", "Dimon"),
    "KO": ("Coca-Cola", "Coke"),
    "MCD": ("McDonald's", "McDonald’s", "McDonalds"),
    "META": ("Meta Platforms", "Facebook", "Instagram", "Zuckerberg"),
    "MMM": ("3M",),
    "MRK": ("Merck",),
    "MSFT": ("Microsoft", "Azure", "Windows", "Nadella", "Bill Gates"),
    "NKE": ("Nike",),
    "NVDA": ("Nvidia", "Jensen Huang"),
    "PFE": ("Pfizer",),
    "PG": ("Procter & Gamble", "P&G", "Procter"),
    "SHW": ("Sherwin-Williams", "Sherwin Williams"),
    "TRV": ("Travelers",),
    "TSLA": ("Tesla", "Elon Musk", "Musk"),
    "UNH": ("UnitedHealth", "United Healthcare", "Optum"),
    "V": ("Visa",),
    "VZ": ("Verizon",),
    "WBA": ("Walgreens",),
    "WMT": ("Walmart", "Wal-Mart"),
    "XOM": ("Exxon Mobil", "ExxonMobil", "Exxon"),
}
"""Ticker -> what the company is called in texts, for sources that do not know its name."""
