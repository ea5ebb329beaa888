"""The archive source: a folder (local or s3://) of Parquet tables that users can make from any vendor's data."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from hashlib import sha256
from typing import Any, TypeVar

from agents.errors import BadArchive, NoSuchCase, SourceFailed
from agents.inputs.datum import UTC, Bar, Dividend, Fact, Insider, Macro, News, Split
from agents.inputs.sessions import close_of, is_session
from agents.inputs.text import SUMMARY, TITLE, clean
from agents.sources import STATEMENT_DAYS, PriceHistory, Source, SourceRows, latest, within
from agents.sources.archive_format import TABLES, check

Row = TypeVar("Row")


class Archive(Source):
    """Rows by ticker, read and checked once; every answer contains only what was available at the given time."""

    name = "archive"

    def fingerprint(self) -> str:
        return sha256("\n".join(f"{i.path} {i.size} {i.mtime_ns}" for i in self._files.values()).encode()).hexdigest()

    def tickers(self) -> tuple[str, ...]:
        return self._listed

    def company(self, ticker: str) -> str | None:
        rows = self._rows("companies").get(ticker)
        return str(rows[0]["name"]) if rows else None

    def prices(self, ticker: str, first: dt.date, until: dt.datetime) -> PriceHistory:
        bars = self._bars.get(ticker)
        if bars is None:
            known = ", ".join(self.tickers()[:40])
            raise NoSuchCase(f"the archive {self._shown_address} has no prices of {ticker!r}; it has: {known}")
        splits, dividends = self._splits.get(ticker, ()), self._dividends.get(ticker, ())
        return PriceHistory(
            tuple(bar for bar in bars if bar.date >= first and bar.available_at <= until),
            tuple(split for split in splits if split.ex_date >= first and split.available_at <= until),
            tuple(paid for paid in dividends if paid.ex_date >= first and paid.available_at <= until),
        )

    def filings(self, ticker: str, until: dt.datetime) -> SourceRows[Fact]:
        rows = self._facts.get(ticker, ())
        oldest = until.date() - dt.timedelta(days=STATEMENT_DAYS)
        available = [row for row in rows if row.available_at <= until and row.period_end >= oldest]
        undated = sum(oldest <= end <= until.date() for end in self._undated_facts.get(ticker, ()))
        return self._found("fundamentals", latest(available), undated, f"no statement of {ticker} had been filed")

    def news(self, ticker: str, since: dt.datetime, until: dt.datetime) -> SourceRows[News]:
        rows = within((*self._texts("news").get(ticker, ()), *self._texts("news").get("", ())), since, until)
        undated = sum(self._undated("news").get(name, 0) for name in (ticker, ""))
        return self._found("news", rows, undated, _empty_window("news", since, until))

    def social(self, ticker: str, since: dt.datetime, until: dt.datetime) -> SourceRows[News]:
        rows = within(self._texts("social").get(ticker, ()), since, until)
        return self._found("social", rows, self._undated("social").get(ticker, 0), _empty_window("social text", since, until))

    def insiders(self, ticker: str, since: dt.datetime, until: dt.datetime) -> SourceRows[Insider]:
        rows = within(self._trades.get(ticker, ()), since, until)
        undated = self._undated("insiders").get(ticker, 0)
        return self._found("insiders", rows, undated, _empty_window("insider transaction", since, until))

    def macro(self, since: dt.datetime, until: dt.datetime) -> SourceRows[Macro]:
        rows = within(self._series, since, until)
        return self._found("macro", rows, sum(self._undated("macro").values()), _empty_window("macro value", since, until))

    def bars(self, ticker: str) -> tuple[Bar, ...]:
        """All sessions of a ticker, oldest first."""
        return self._bars.get(ticker, ())

    def table(self, name: str) -> Any:
        """A checked pyarrow table, or None when the archive has none of this name."""
        return self._tables.get(name)

    def _found(self, table: str, rows: Sequence[Row], undated: int, why_empty: str) -> SourceRows[Row]:
        if table not in self._files:
            why_empty = f"this archive has no table {table!r}"
        return SourceRows(tuple(rows), undated, None if rows else why_empty)

    @property
    def _shown_address(self) -> str:
        """The address for messages, without credentials."""
        return re.sub(r"//[^/@]*@", "//***@", self._folder)

    @property
    def _folder(self) -> str:
        if not self.settings.archive:
            raise BadArchive(
                "the source 'archive' needs a folder; fix: set data.archive in the experiment, or pass --archive DIR"
            )
        return str(self.settings.archive)

    @cached_property
    def _filesystem(self) -> tuple[Any, str]:
        from pyarrow import fs

        if "://" in self._folder:
            system, path = fs.FileSystem.from_uri(self._folder)
            return system, path
        return fs.LocalFileSystem(), self._folder

    @cached_property
    def _files(self) -> dict[str, Any]:
        """table -> file info."""
        from pyarrow import fs

        system, path = self._filesystem
        try:
            infos = system.get_file_info(fs.FileSelector(path))
        except FileNotFoundError as problem:
            raise BadArchive(f"there is no archive at {self._shown_address}; fix: --archive DIR") from problem
        except OSError as problem:
            raise SourceFailed(f"the archive {self._shown_address} cannot be reached: {problem}") from problem
        tables = {info.base_name.removesuffix(".parquet"): info for info in infos if info.extension == "parquet"}
        if "prices" not in tables:
            raise BadArchive(
                f"the archive {self._shown_address} has no prices.parquet; it has: {', '.join(sorted(tables)) or 'no Parquet'}"
            )
        return {name: tables[name] for name in sorted(tables) if name in TABLES}

    @cached_property
    def _listed(self) -> tuple[str, ...]:
        """Read from one column only."""
        column = self._parquet("prices", ["ticker"])
        return tuple(sorted(str(name) for name in column["ticker"].unique().to_pylist() if name)) if column.num_columns else ()

    @cached_property
    def _tables(self) -> dict[str, Any]:
        return {name: self._read(name) for name in self._files}

    def _read(self, name: str) -> Any:
        table = self._parquet(name)
        check(name, table, self._files[name].base_name)
        return table

    def _parquet(self, name: str, columns: list[str] | None = None) -> Any:
        import pyarrow as pa
        import pyarrow.parquet as pq

        info = self._files[name]
        try:
            return pq.read_table(info.path, columns=columns, filesystem=self._filesystem[0])
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as problem:
            raise BadArchive(f"{info.path} cannot be read as Parquet: {problem}; fix: write the file again") from problem

    @cached_property
    def _by_ticker(self) -> dict[str, dict[str, list[dict[str, Any]]]]:
        return {}

    def _rows(self, name: str) -> dict[str, list[dict[str, Any]]]:
        """ticker ('' if a row has none) -> rows as dicts, in the file's order."""
        if name not in self._by_ticker:
            grouped: dict[str, list[dict[str, Any]]] = {}
            for row in _plain_rows(self._tables[name]) if name in self._files else ():
                grouped.setdefault(row.get("ticker") or "", []).append(row)
            self._by_ticker[name] = grouped
        return self._by_ticker[name]

    def _convert(self, name: str, convert: Callable[[dict[str, Any]], Row | None]) -> dict[str, tuple[Row, ...]]:
        """ticker -> its rows converted, without those for which `convert` returns None."""
        converted = {ticker: [convert(row) for row in rows] for ticker, rows in self._rows(name).items()}
        return {ticker: tuple(row for row in rows if row is not None) for ticker, rows in converted.items()}

    def _undated(self, name: str) -> dict[str, int]:
        moment = "published_at" if name in ("news", "social") else "available_at"
        return {ticker: sum(row[moment] is None for row in rows) for ticker, rows in self._rows(name).items()}

    def _texts(self, name: str) -> Mapping[str, tuple[News, ...]]:
        return self._news if name == "news" else self._posts

    @cached_property
    def _bars(self) -> dict[str, tuple[Bar, ...]]:
        return {ticker: tuple(sorted(bars)) for ticker, bars in self._convert("prices", _bar).items()}

    @cached_property
    def _splits(self) -> dict[str, tuple[Split, ...]]:
        return self._convert("splits", _split)

    @cached_property
    def _dividends(self) -> dict[str, tuple[Dividend, ...]]:
        return self._convert("dividends", _dividend)

    @cached_property
    def _news(self) -> dict[str, tuple[News, ...]]:
        news = self._convert("news", lambda row: _text(row, "company" if row["ticker"] else "global"))
        return {ticker: tuple(dict.fromkeys(items)) for ticker, items in news.items()}

    @cached_property
    def _posts(self) -> dict[str, tuple[News, ...]]:
        return self._convert("social", lambda row: _text(row, "social"))

    @cached_property
    def _facts(self) -> dict[str, tuple[Fact, ...]]:
        return self._convert("fundamentals", _fact)

    @cached_property
    def _undated_facts(self) -> dict[str, tuple[dt.date, ...]]:
        return self._convert("fundamentals", lambda row: row["period_end"] if row["available_at"] is None else None)

    @cached_property
    def _trades(self) -> dict[str, tuple[Insider, ...]]:
        return self._convert("insiders", _trade)

    @cached_property
    def _series(self) -> tuple[Macro, ...]:
        return self._convert(
            "macro", lambda row: row["available_at"] and Macro(row["series"], float(row["value"]), row["available_at"])
        ).get("", ())


def _empty_window(noun: str, since: dt.datetime, until: dt.datetime) -> str:
    return f"no {noun} in this archive from {since:%Y-%m-%d %H:%M} to {until:%Y-%m-%d %H:%M} UTC"


def _plain_rows(table: Any) -> list[dict[str, Any]]:
    """The rows of a checked table as dicts, times in UTC."""
    import pyarrow as pa

    for index, field in enumerate(table.schema):
        if pa.types.is_timestamp(field.type):
            table = table.set_column(index, field.name, table[field.name].cast(pa.timestamp("us", "UTC"), safe=False))
        elif pa.types.is_null(field.type):
            table = table.set_column(index, field.name, pa.nulls(table.num_rows, pa.string()))
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


def _bar(row: dict[str, Any]) -> Bar | None:
    """None for a day without a session."""
    if not is_session(row["date"]):
        return None
    prices = [float(row[name]) for name in ("open", "high", "low", "close", "volume")]
    return Bar(row["date"], *prices, close_of(row["date"]))  # type: ignore[call-arg, arg-type]


def _dividend(row: dict[str, Any]) -> Dividend:
    """Known from the end of the day of declaration, or from the ex-date if that is missing."""
    declared, ex_date = row.get("declared_date"), row["ex_date"]
    known_from = _midnight(declared + dt.timedelta(days=1)) if declared else _midnight(ex_date)
    return Dividend(ex_date, float(row["amount"]), declared, row.get("pay_date"), known_from)


def _text(row: dict[str, Any], scope: str) -> News | None:
    """None for an undated text."""
    if row["published_at"] is None:
        return None
    source = clean(row["source"], 60) or "unknown source"
    return News(scope, clean(row["title"], TITLE), clean(row["summary"], SUMMARY), source, row["published_at"])


def _fact(row: dict[str, Any]) -> Fact | None:
    """None for an undated line."""
    if row["available_at"] is None:
        return None
    names = [str(row[key] or "") for key in ("statement", "item", "fiscal_year", "fiscal_period")]
    return Fact(*names, row["period_start"], row["period_end"], float(row["value"]), row["unit"] or "", row["available_at"])  # type: ignore[call-arg, arg-type]


def _trade(row: dict[str, Any]) -> Insider | None:
    """None for an undated transaction."""
    if row["available_at"] is None:
        return None
    person, role = clean(row["person"], 80), clean(row.get("role"), 80)
    return Insider(person, role, clean(row["kind"], 20), row.get("shares"), row.get("price"), row["available_at"])


def _split(row: dict[str, Any]) -> Split:
    """Known from the ex-date."""
    return Split(row["ex_date"], float(row["ratio"]), _midnight(row["ex_date"]))


def _midnight(day: dt.date) -> dt.datetime:
    return dt.datetime.combine(day, dt.time(), UTC)
