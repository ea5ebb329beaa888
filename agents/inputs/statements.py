"""Statements as filed: the quarters of an item, and ratios computed from them and the last price."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from agents.inputs.datum import Fact
from agents.inputs.prices import shares_for_one
from agents.inputs.snapshot import Snapshot

QUARTER = range(80, 101)
YEAR = range(350, 381)
"""Days in a fiscal quarter, or year."""


class Quarter(NamedTuple):
    end: dt.date
    value: float


class Ratio(NamedTuple):
    """A computed figure; without a value it has a reason."""

    name: str
    value: float | None
    unit: str
    """% | x | USD."""
    reason: str = ""


def quarters(facts: Sequence[Fact], *items: str) -> list[Quarter]:
    """Quarters of the first of `items` on file, newest first; a fourth quarter may be the year minus the others."""
    for item in items:
        rows = [fact for fact in facts if fact.item == item]
        filed = {fact.period_end: fact.value for fact in rows if _is_quarter(fact)}
        if filed:
            return [Quarter(end, value) for end, value in sorted((filed | _fourths(rows, filed)).items(), reverse=True)]
    return []


def trailing(facts: Sequence[Fact], *items: str) -> float | None:
    """Sum of the four newest quarters; None unless they are consecutive."""
    newest = quarters(facts, *items)[:4]
    if len(newest) < 4 or (newest[0].end - newest[3].end).days > 290:
        return None
    return sum(quarter.value for quarter in newest)


def ratios(snapshot: Snapshot) -> Iterator[Ratio]:
    """Growth, margins, balance and valuation, each from as-filed lines and the last close."""
    facts = snapshot.filings
    yield from _growth(facts, "revenue growth on the year", "revenues")
    yield from _growth(facts, "net income growth on the year", "net_income_loss_attributable_to_parent", "net_income_loss")
    for name, item in (("gross", "gross_profit"), ("operating", "operating_income_loss"), ("net", "net_income_loss")):
        yield _share(f"{name} margin", quarters(facts, item), quarters(facts, "revenues"), "%")
    yield _share(
        "current assets / current liabilities", quarters(facts, "current_assets"), quarters(facts, "current_liabilities"), "x"
    )
    yield _share("long-term debt / equity", quarters(facts, "long_term_debt"), _equity(facts), "x")
    yield from _valuation(snapshot)


def market_cap(snapshot: Snapshot) -> float | None:
    """Last close times the last filed share count, adjusted for later splits; None if none was filed."""
    filed = [
        fact for fact in snapshot.filings if fact.item in ("shares_outstanding", "basic_average_shares") and fact.value > 0
    ]
    if not filed:
        return None
    newest = max(filed, key=lambda fact: (fact.period_end, fact.item == "shares_outstanding"))
    count = newest.value * _scale_of_shares(newest, snapshot.filings)
    return snapshot.last.close * count * shares_for_one(snapshot.splits, newest.period_end, snapshot.last.date)


def _scale_of_shares(count: Fact, facts: Sequence[Fact]) -> int:
    """1, 1,000 or 1,000,000, inferred from earnings per share: some companies file thousands or millions."""
    at = {item: value for item in _PER_SHARE for end, value in quarters(facts, item) if end == count.period_end}
    if len(at) < len(_PER_SHARE) or not all(at.values()):
        return 1
    implied = at["net_income_loss"] / at["basic_earnings_per_share"] / count.value
    return next((scale for scale in (1_000, 1_000_000) if 0.5 < implied / scale < 2), 1)


_PER_SHARE = ("net_income_loss", "basic_earnings_per_share")


def _is_quarter(fact: Fact) -> bool:
    return fact.period_start is None or (fact.period_end - fact.period_start).days in QUARTER


def _fourths(rows: Sequence[Fact], filed: dict[dt.date, float]) -> dict[dt.date, float]:
    """Year minus three quarters, if the year was filed and its last quarter was not."""
    years = [row for row in rows if row.period_start and (row.period_end - row.period_start).days in YEAR]
    derived = {}
    for year in years:
        inside = [value for end, value in filed.items() if year.period_start and year.period_start < end < year.period_end]
        if year.period_end not in filed and len(inside) == 3 and year.unit == "USD":
            derived[year.period_end] = year.value - sum(inside)
    return derived


def _growth(facts: Sequence[Fact], name: str, *items: str) -> Iterator[Ratio]:
    filed = quarters(facts, *items)
    before = [past for past in filed if (filed[0].end - past.end).days in YEAR] if filed else []
    if not before or before[0].value <= 0:
        yield Ratio(
            name,
            None,
            "%",
            "the same quarter a year earlier is not on file" if not before else "a year earlier it was negative",
        )
        return
    yield Ratio(name, filed[0].value / before[0].value - 1, "%")


def _share(name: str, over: Sequence[Quarter], under: Sequence[Quarter], unit: str) -> Ratio:
    """Ratio at the newest period end that both have."""
    below = {quarter.end: quarter.value for quarter in under if quarter.value > 0}
    both = next((quarter for quarter in over if quarter.end in below), None)
    if both is None or both.end != max((*below, over[0].end)):
        return Ratio(name, None, unit, "not on file for the newest quarter")
    return Ratio(name, both.value / below[both.end], unit)


def _equity(facts: Sequence[Fact]) -> list[Quarter]:
    return quarters(facts, "equity_attributable_to_parent", "equity")


def _valuation(snapshot: Snapshot) -> Iterator[Ratio]:
    value = market_cap(snapshot)
    yield Ratio("market capitalisation", value, "USD", "no share count is on file")
    for name, items in (("price / earnings", _EARNINGS), ("price / sales", ("revenues",))):
        yield _priced(
            f"{name}, trailing four quarters",
            value,
            trailing(snapshot.filings, *items),
            "four consecutive quarters are not on file",
        )
    equity = _equity(snapshot.filings)
    yield _priced("price / book", value, equity[0].value if equity else None, "no equity is on file")
    paid = _year_of_dividends(snapshot)
    yield (
        Ratio("dividend yield, ex dates of the last 365 days", paid / snapshot.last.close, "%")
        if snapshot.dividends
        else Ratio("dividend yield", None, "%", "no dividend is known")
    )


_EARNINGS = ("net_income_loss_attributable_to_parent", "net_income_loss")


def _priced(name: str, value: float | None, per: float | None, reason: str) -> Ratio:
    if value is None or per is None:
        return Ratio(name, None, "x", "no share count is on file" if value is None else reason)
    return Ratio(name, value / per, "x") if per > 0 else Ratio(name, None, "x", "it was negative")


def _year_of_dividends(snapshot: Snapshot) -> float:
    since = snapshot.last.date - dt.timedelta(days=365)
    paid = [d for d in snapshot.dividends if since < d.ex_date <= snapshot.last.date]
    return sum(d.amount / shares_for_one(snapshot.splits, d.ex_date, snapshot.last.date) for d in paid)
