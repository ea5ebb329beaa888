"""The archive source: a folder (local or s3://) of Parquet tables that a user can make from any vendor."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Callable, Mapping, Sequence
from functools import cached_property
from hashlib import sha256
from typing import Any, TypeVar

from agents.errors import BadArchive, NoSuchCase, SourceFailed
from agents.inputs.datum import Bar, Dividend, Fact, Insider, Macro, News, Split
from agents.sources import Found, History, Source, archive_rows, within
from agents.sources.archive_format import TABLES, check
from agents.sources.latest import STATEMENT_DAYS, latest

Row = TypeVar("Row")


class Archive(Source):
    """Rows by ticker, read and checked once; every answer is filtered by the moment it became available."""

    name = "archive"

    def fingerprint(self) -> str:
        return sha256("\n".join(f"{i.path} {i.size} {i.mtime_ns}" for i in self._files.values()).encode()).hexdigest()

    def tickers(self) -> tuple[str, ...]:
        return self._listed

    def company(self, ticker: str) -> str | None:
        rows = self._rows("companies").get(ticker)
        return str(rows[0]["name"]) if rows else None

    def prices(self, ticker: str, first: dt.date, until: dt.datetime) -> History:
        bars = self._bars.get(ticker)
        if bars is None:
            known = ", ".join(self.tickers()[:40])
            raise NoSuchCase(f"the archive {self._said} has no prices of {ticker!r}; it has: {known}")
        splits, dividends = self._splits.get(ticker, ()), self._dividends.get(ticker, ())
        return History(
            tuple(bar for bar in bars if bar.date >= first and bar.available_at <= until),
            tuple(split for split in splits if split.ex_date >= first and split.available_at <= until),
            tuple(paid for paid in dividends if paid.ex_date >= first and paid.available_at <= until),
        )

    def filings(self, ticker: str, until: dt.datetime) -> Found[Fact]:
        rows = self._facts.get(ticker, ())
        oldest = until.date() - dt.timedelta(days=STATEMENT_DAYS)
        seen = [row for row in rows if row.available_at <= until and row.period_end >= oldest]
        undated = sum(oldest <= end <= until.date() for end in self._undated_facts.get(ticker, ()))
        return self._found("fundamentals", latest(seen), undated, f"no statement of {ticker} had been filed")

    def news(self, ticker: str, since: dt.datetime, until: dt.datetime) -> Found[News]:
        rows = within((*self._texts("news").get(ticker, ()), *self._texts("news").get("", ())), since, until)
        undated = sum(self._undated("news").get(name, 0) for name in (ticker, ""))
        return self._found("news", rows, undated, _empty_window("news", since, until))

    def social(self, ticker: str, since: dt.datetime, until: dt.datetime) -> Found[News]:
        rows = within(self._texts("social").get(ticker, ()), since, until)
        return self._found("social", rows, self._undated("social").get(ticker, 0), _empty_window("social text", since, until))

    def insiders(self, ticker: str, since: dt.datetime, until: dt.datetime) -> Found[Insider]:
        rows = within(self._trades.get(ticker, ()), since, until)
        undated = self._undated("insiders").get(ticker, 0)
        return self._found("insiders", rows, undated, _empty_window("insider transaction", since, until))

    def macro(self, since: dt.datetime, until: dt.datetime) -> Found[Macro]:
        rows = within(self._series, since, until)
        return self._found("macro", rows, sum(self._undated("macro").values()), _empty_window("macro value", since, until))

    def bars(self, ticker: str) -> tuple[Bar, ...]:
        """All sessions of a ticker, oldest first."""
        return self._bars.get(ticker, ())

    def table(self, name: str) -> Any:
        """A checked pyarrow table, or None when the archive has none of this name."""
        return self._tables.get(name)

    def _found(self, table: str, rows: Sequence[Row], undated: int, otherwise: str) -> Found[Row]:
        if table not in self._files:
            otherwise = f"this archive has no table {table!r}"
        return Found(tuple(rows), undated, None if rows else otherwise)

    @property
    def _said(self) -> str:
        """The address as a message may show it: without keys."""
        return re.sub(r"//[^/@]*@", "//***@", self._folder)

    @property
    def _folder(self) -> str:
        if not self.settings.archive:
            raise BadArchive("the source 'archive' needs a folder; mend: data.archive in the experiment, or --archive DIR")
        return str(self.settings.archive)

    @cached_property
    def _place(self) -> tuple[Any, str]:
        from pyarrow import fs

        if "://" in self._folder:
            system, path = fs.FileSystem.from_uri(self._folder)
            return system, path
        return fs.LocalFileSystem(), self._folder

    @cached_property
    def _files(self) -> dict[str, Any]:
        """table -> file info."""
        from pyarrow import fs

        system, path = self._place
        try:
            infos = system.get_file_info(fs.FileSelector(path))
        except FileNotFoundError as problem:
            raise BadArchive(f"there is no archive at {self._said}; mend: --archive DIR") from problem
        except OSError as problem:
            raise SourceFailed(f"the archive {self._said} cannot be reached: {problem}") from problem
        found = {info.base_name.removesuffix(".parquet"): info for info in infos if info.extension == "parquet"}
        if "prices" not in found:
            raise BadArchive(
                f"the archive {self._said} has no prices.parquet; it has: {', '.join(sorted(found)) or 'no Parquet'}"
            )
        return {name: found[name] for name in sorted(found) if name in TABLES}

    @cached_property
    def _listed(self) -> tuple[str, ...]:
        """One column is enough to know who is there."""
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
            return pq.read_table(info.path, columns=columns, filesystem=self._place[0])
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError, OSError) as problem:
            raise BadArchive(f"{info.path} cannot be read as Parquet: {problem}; mend: write the file again") from problem

    @cached_property
    def _by_ticker(self) -> dict[str, dict[str, list[dict[str, Any]]]]:
        return {}

    def _rows(self, name: str) -> dict[str, list[dict[str, Any]]]:
        """ticker ('' where a row has none) -> rows as dicts, in the file's order."""
        if name not in self._by_ticker:
            grouped: dict[str, list[dict[str, Any]]] = {}
            for row in archive_rows.plain(self._tables[name]) if name in self._files else ():
                grouped.setdefault(row.get("ticker") or "", []).append(row)
            self._by_ticker[name] = grouped
        return self._by_ticker[name]

    def _made(self, name: str, make: Callable[[dict[str, Any]], Row | None]) -> dict[str, tuple[Row, ...]]:
        made = {ticker: [make(row) for row in rows] for ticker, rows in self._rows(name).items()}
        return {ticker: tuple(row for row in rows if row is not None) for ticker, rows in made.items()}

    def _undated(self, name: str) -> dict[str, int]:
        moment = "published_at" if name in ("news", "social") else "available_at"
        return {ticker: sum(row[moment] is None for row in rows) for ticker, rows in self._rows(name).items()}

    def _texts(self, name: str) -> Mapping[str, tuple[News, ...]]:
        return self._news if name == "news" else self._posts

    @cached_property
    def _bars(self) -> dict[str, tuple[Bar, ...]]:
        return {ticker: tuple(sorted(bars)) for ticker, bars in self._made("prices", archive_rows.bar).items()}

    @cached_property
    def _splits(self) -> dict[str, tuple[Split, ...]]:
        return self._made("splits", archive_rows.split)

    @cached_property
    def _dividends(self) -> dict[str, tuple[Dividend, ...]]:
        return self._made("dividends", archive_rows.dividend)

    @cached_property
    def _news(self) -> dict[str, tuple[News, ...]]:
        made = self._made("news", lambda row: archive_rows.text(row, "company" if row["ticker"] else "global"))
        return {ticker: tuple(dict.fromkeys(items)) for ticker, items in made.items()}

    @cached_property
    def _posts(self) -> dict[str, tuple[News, ...]]:
        return self._made("social", lambda row: archive_rows.text(row, "social"))

    @cached_property
    def _facts(self) -> dict[str, tuple[Fact, ...]]:
        return self._made("fundamentals", archive_rows.fact)

    @cached_property
    def _undated_facts(self) -> dict[str, tuple[dt.date, ...]]:
        return self._made("fundamentals", lambda row: row["period_end"] if row["available_at"] is None else None)

    @cached_property
    def _trades(self) -> dict[str, tuple[Insider, ...]]:
        return self._made("insiders", archive_rows.trade)

    @cached_property
    def _series(self) -> tuple[Macro, ...]:
        return self._made(
            "macro", lambda row: row["available_at"] and Macro(row["series"], float(row["value"]), row["available_at"])
        ).get("", ())


def _empty_window(what: str, since: dt.datetime, until: dt.datetime) -> str:
    return f"no {what} in this archive from {since:%Y-%m-%d %H:%M} to {until:%Y-%m-%d %H:%M} UTC"
