"""The EDGAR source: statements as filed with the SEC, each line from the moment its filing was accepted."""

from __future__ import annotations

import datetime as dt
import gzip
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from itertools import pairwise
from typing import Any, NamedTuple

from agents.errors import SnapshotError, SourceFailed
from agents.inputs.datum import UTC, Fact
from agents.sources import STATEMENT_DAYS, Source, SourceRows, SourceSettings, latest
from domain.text import decode_json

URLS = ("https://www.sec.gov", "https://data.sec.gov")
SPACING_S = 0.11
"""Seconds between two requests: the SEC allows ten per second."""
WAITS_S = (2.0, 10.0, 30.0)
"""Seconds to wait after each refusal before the next attempt."""
LIST_DAYS = 30
"""The list of tickers is fetched again after this many days."""


class Edgar(Source):
    """Statements from companyfacts, filing times from submissions; both free, both cached with their retrieval time."""

    name = "edgar"

    def __init__(self, settings: SourceSettings, urls: tuple[str, str] = URLS, waits_s: Sequence[float] = WAITS_S) -> None:
        super().__init__(settings)
        self._urls = urls
        self._waits_s = waits_s
        self._asked_at = 0.0
        self._facts: dict[str, tuple[dt.datetime, list[tuple[int, Fact]]]] = {}

    def lacks(self, part: str) -> str:
        if part == "insiders":
            return "insider transactions (form 4) are not read from EDGAR; an archive can hold them"
        return super().lacks(part)

    def company(self, ticker: str) -> str | None:
        listed = self._listed.get(ticker)
        return str(listed["title"]) if listed else None

    def filings(self, ticker: str, until: dt.datetime) -> SourceRows[Fact]:
        if ticker not in self._listed:
            return SourceRows(absent=f"the SEC lists no company under {ticker}")
        oldest = until.date() - dt.timedelta(days=STATEMENT_DAYS)
        available = [
            (rank, fact)
            for rank, fact in self._ranked_facts(ticker, until)
            if fact.available_at <= until and fact.period_end >= oldest
        ]
        rows = with_quarters(_first_tags(available))
        return SourceRows(rows, absent=None if rows else f"{ticker} had filed no statement with the SEC")

    def _ranked_facts(self, ticker: str, until: dt.datetime) -> list[tuple[int, Fact]]:
        """(rank of its tag, fact) for every filed line, fetched at or after `until`."""
        if ticker not in self._facts or self._facts[ticker][0] < until:
            cik = f"{int(self._listed[ticker]['cik_str']):010d}"
            moment, facts = self._json(f"companyfacts-{cik}", f"{self._urls[1]}/api/xbrl/companyfacts/CIK{cik}.json", until)
            self._facts[ticker] = moment, list(_facts(facts or {}, self._accepted(cik, until)))
        return self._facts[ticker][1]

    def _accepted(self, cik: str, until: dt.datetime) -> dict[str, dt.datetime]:
        """Accession number of a filing -> time of acceptance."""
        _, submissions = self._json(f"submissions-{cik}", f"{self._urls[1]}/submissions/CIK{cik}.json", until)
        filings = (submissions or {}).get("filings", {})
        pages = [filings.get("recent", {})]
        for file in filings.get("files", []):
            _, page = self._json(file["name"].removesuffix(".json"), f"{self._urls[1]}/submissions/{file['name']}", until)
            pages.append(page or {})
        return {number: moment for page in pages for number, moment in _moments(page)}

    @cached_property
    def _listed(self) -> dict[str, dict[str, Any]]:
        recently = dt.datetime.now(UTC) - dt.timedelta(days=LIST_DAYS)
        _, listed = self._json("company_tickers", f"{self._urls[0]}/files/company_tickers.json", recently)
        if not listed:
            raise SourceFailed("the SEC's list of tickers is empty; fix: try again later")
        return {row["ticker"].replace("-", "."): row for row in listed.values()} | {
            row["ticker"]: row for row in listed.values()
        }

    def _json(self, name: str, url: str, until: dt.datetime) -> tuple[dt.datetime, Any]:
        """A document fetched at or after `until`, from the cache or the SEC; None if the SEC has none."""
        cached = self._cached(name)
        if cached is not None and cached[0] >= until:
            return cached
        now = dt.datetime.now(UTC)
        raw = self._get(url)
        try:
            document = None if raw is None else decode_json(raw)
        except ValueError as problem:
            raise SourceFailed(f"the SEC answered {url} with something that is not JSON; fix: try again later") from problem
        self._keep(name, now, raw or b"null")
        return now, document

    def _get(self, url: str) -> bytes | None:
        """The document, or None for a 404. Raises SourceFailed if the SEC keeps refusing or cannot be reached."""
        problem = ""
        for wait_s in (0.0, *self._waits_s):
            time.sleep(wait_s)
            status, raw = self._ask(url)
            if status in (200, 404):
                return raw if status == 200 else None
            problem = f"answered {status}" if status else f"cannot be reached: {raw.decode()}"
        raise SourceFailed(f"the SEC {problem} ({url}); what was fetched is kept, run again later")

    def _ask(self, url: str) -> tuple[int, bytes]:
        """(HTTP status, body), or 0 and the reason."""
        import httpx

        self._space()
        try:
            answer = httpx.get(url, headers={"User-Agent": self._agent}, timeout=60, follow_redirects=True)
        except httpx.HTTPError as problem:
            return 0, f"{type(problem).__name__}: {problem}".encode()
        return answer.status_code, bytes(answer.content)

    @property
    def _agent(self) -> str:
        if not self.settings.contact:
            raise SnapshotError(
                "the SEC requires a contact address; fix: set SEC_CONTACT=name@example.org in the environment or .env"
            )
        return f"tradingagents-harness {self.settings.contact}"

    def _space(self) -> None:
        time.sleep(max(0.0, self._asked_at + SPACING_S - time.monotonic()))
        self._asked_at = time.monotonic()

    def _cached(self, name: str) -> tuple[dt.datetime, Any] | None:
        files = sorted((self.settings.cache / "edgar").glob(f"{name}.*.json.gz")) if self.settings.cache else []
        if not files:
            return None
        moment = dt.datetime.strptime(files[-1].name.split(".")[-3], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        return moment, decode_json(gzip.decompress(files[-1].read_bytes()))

    def _keep(self, name: str, now: dt.datetime, raw: bytes) -> None:
        if self.settings.cache:
            folder = self.settings.cache / "edgar"
            folder.mkdir(parents=True, exist_ok=True)
            draft = folder / f".{name}.tmp"
            draft.write_bytes(gzip.compress(raw, 5))
            draft.replace(folder / f"{name}.{now:%Y%m%dT%H%M%SZ}.json.gz")


def with_quarters(facts: Sequence[Fact]) -> tuple[Fact, ...]:
    """The facts plus quarters derived from year-to-date sums: 10-Q cash flows, and every fourth quarter."""
    have = {(fact.item, fact.period_end, _days(fact) <= 100) for fact in facts}
    derived = [quarter for quarter in _differences(facts) if (quarter.item, quarter.period_end, True) not in have]
    return tuple(
        sorted((*facts, *derived), key=lambda fact: (fact.period_end, fact.statement, fact.item, str(fact.period_start)))
    )


def _differences(facts: Sequence[Fact]) -> Iterator[Fact]:
    """For two sums with the same start, the second minus the first, known when both are."""
    sums: dict[tuple[str, dt.date], list[Fact]] = {}
    for fact in facts:
        if fact.period_start is not None and fact.unit == "USD":
            sums.setdefault((fact.item, fact.period_start), []).append(fact)
    for same_start in sums.values():
        ordered = sorted(same_start, key=lambda fact: fact.period_end)
        for short, long in pairwise(ordered):
            if 80 <= (long.period_end - short.period_end).days <= 100:
                start = short.period_end + dt.timedelta(days=1)
                known_from = max(short.available_at, long.available_at)
                yield long._replace(
                    period_start=start, value=long.value - short.value, available_at=known_from, fiscal_period=""
                )


def _facts(document: Mapping[str, Any], accepted: Mapping[str, dt.datetime]) -> Iterator[tuple[int, Fact]]:
    """Every line of our items, with the rank of its tag."""
    tags = {**document.get("facts", {}).get("us-gaap", {}), **document.get("facts", {}).get("dei", {})}
    for item in ITEMS:
        for rank, tag in enumerate(item.tags):
            for row in tags.get(tag, {}).get("units", {}).get(item.unit, []):
                yield rank, _fact(item.statement, item.name, item.unit, row, accepted)


def _fact(statement: str, name: str, unit: str, row: Mapping[str, Any], accepted: Mapping[str, dt.datetime]) -> Fact:
    filed = dt.datetime.combine(dt.date.fromisoformat(row["filed"]) + dt.timedelta(days=1), dt.time(), UTC)
    start = dt.date.fromisoformat(row["start"]) if row.get("start") else None
    end = dt.date.fromisoformat(row["end"])
    fiscal = (str(row.get("fy") or ""), str(row.get("fp") or ""))
    plain = unit.replace("USD/shares", "USD / shares")
    return Fact(statement, name, *fiscal, start, end, float(row["val"]), plain, accepted.get(row["accn"], filed))


def _first_tags(ranked: Iterable[tuple[int, Fact]]) -> tuple[Fact, ...]:
    """If a period of an item is filed under several tags, the last filing under the preferred tag."""
    ranked = list(ranked)
    best: dict[tuple[Any, ...], int] = {}
    for rank, fact in ranked:
        key = (fact.item, fact.period_start, fact.period_end)
        best[key] = min(rank, best.get(key, rank))
    return latest([fact for rank, fact in ranked if best[fact.item, fact.period_start, fact.period_end] == rank])


def _moments(page: Mapping[str, Sequence[str]]) -> Iterator[tuple[str, dt.datetime]]:
    for number, moment in zip(page.get("accessionNumber", ()), page.get("acceptanceDateTime", ()), strict=False):
        if moment:
            yield number, dt.datetime.fromisoformat(moment).astimezone(UTC)


def _days(fact: Fact) -> int:
    return 0 if fact.period_start is None else (fact.period_end - fact.period_start).days


class Item(NamedTuple):
    name: str
    statement: str
    unit: str
    tags: tuple[str, ...]
    """The preferred one first."""


_INCOME, _BALANCE, _CASH = "income_statement", "balance_sheet", "cash_flow_statement"

ITEMS: tuple[Item, ...] = (
    Item(
        "revenues",
        _INCOME,
        "USD",
        (
            "RevenueFromContractWithCustomerExcludingAssessedTax",
            "Revenues",
            "RevenueFromContractWithCustomerIncludingAssessedTax",
            "SalesRevenueNet",
            "RevenuesNetOfInterestExpense",
        ),
    ),
    Item("cost_of_revenue", _INCOME, "USD", ("CostOfGoodsAndServicesSold", "CostOfRevenue", "CostOfGoodsSold")),
    Item("gross_profit", _INCOME, "USD", ("GrossProfit",)),
    Item("operating_expenses", _INCOME, "USD", ("OperatingExpenses", "CostsAndExpenses")),
    Item("research_and_development", _INCOME, "USD", ("ResearchAndDevelopmentExpense",)),
    Item("operating_income_loss", _INCOME, "USD", ("OperatingIncomeLoss",)),
    Item("income_tax_expense_benefit", _INCOME, "USD", ("IncomeTaxExpenseBenefit",)),
    Item("net_income_loss", _INCOME, "USD", ("NetIncomeLoss", "ProfitLoss")),
    Item("diluted_earnings_per_share", _INCOME, "USD/shares", ("EarningsPerShareDiluted", "EarningsPerShareBasicAndDiluted")),
    Item("basic_average_shares", _INCOME, "shares", ("WeightedAverageNumberOfSharesOutstandingBasic",)),
    Item("assets", _BALANCE, "USD", ("Assets",)),
    Item("current_assets", _BALANCE, "USD", ("AssetsCurrent",)),
    Item(
        "cash",
        _BALANCE,
        "USD",
        ("CashAndCashEquivalentsAtCarryingValue", "CashCashEquivalentsRestrictedCashAndRestrictedCashEquivalents"),
    ),
    Item("inventory", _BALANCE, "USD", ("InventoryNet",)),
    Item("liabilities", _BALANCE, "USD", ("Liabilities",)),
    Item("current_liabilities", _BALANCE, "USD", ("LiabilitiesCurrent",)),
    Item("long_term_debt", _BALANCE, "USD", ("LongTermDebtNoncurrent", "LongTermDebt")),
    Item(
        "equity",
        _BALANCE,
        "USD",
        ("StockholdersEquity", "StockholdersEquityIncludingPortionAttributableToNoncontrollingInterest"),
    ),
    Item("shares_outstanding", _BALANCE, "shares", ("EntityCommonStockSharesOutstanding", "CommonStockSharesOutstanding")),
    Item("net_cash_flow_from_operating_activities", _CASH, "USD", ("NetCashProvidedByUsedInOperatingActivities",)),
    Item("net_cash_flow_from_investing_activities", _CASH, "USD", ("NetCashProvidedByUsedInInvestingActivities",)),
    Item("net_cash_flow_from_financing_activities", _CASH, "USD", ("NetCashProvidedByUsedInFinancingActivities",)),
    Item("capital_expenditure", _CASH, "USD", ("PaymentsToAcquirePropertyPlantAndEquipment",)),
    Item("dividends_paid", _CASH, "USD", ("PaymentsOfDividends", "PaymentsOfDividendsCommonStock")),
)
