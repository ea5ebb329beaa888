"""Which cases: tickers, dates, repeats and the data that they are frozen from."""

from __future__ import annotations

import datetime as dt
from typing import Annotated, Any, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from harness.experiment.base import Part, Whole

Ticker = Annotated[str, Field(pattern=r"^[A-Z0-9][A-Z0-9.^=-]{0,14}$")]


class Dates(Part):
    """Decision dates by rule instead of by list: `from` and `to`, or the last sessions before today."""

    from_: dt.date | None = Field(default=None, alias="from")
    """First day that may be a decision date."""
    to: dt.date | None = None
    """Last day that may be a decision date."""
    last_sessions: Whole | None = None
    """Count back this many exchange sessions from today instead of `from` and `to`."""
    every_sessions: Whole = 1
    """Take every n-th session; at least the longest horizon keeps outcome windows from overlapping."""
    days: tuple[dt.date, ...] | None = None
    """Explicit dates, when `non_session` is to be said with them."""
    non_session: Literal["refuse", "previous", "next"] = "refuse"
    """What to do with a date on which the exchange is closed."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        ways = [self.days is not None, self.last_sessions is not None, self.from_ is not None or self.to is not None]
        if sum(ways) != 1:
            raise ValueError("say dates in exactly one way: from and to, last_sessions, or days")
        if ways[2] and (self.from_ is None or self.to is None):
            raise ValueError("from and to belong together")
        if self.from_ and self.to and self.from_ > self.to:
            raise ValueError(f"from {self.from_} is after to {self.to}")
        return self


class NoiseFloor(Part):
    """Repeats on some cases only: an arm against itself, the floor under every similarity."""

    cases: Whole
    """How many cases are repeated."""
    repeats: Whole
    """Repeats of each of them, the first one included."""


class Repeats(Part):
    """How often each case is decided by each arm."""

    all_cases: Whole = 1
    """Repeats of every case."""
    noise_floor: NoiseFloor | None = None
    """More repeats on a few cases; rules are never repeated, they decide alike."""


class Data(Part):
    """Where the frozen inputs come from; a source that is not named gives nothing, and the analysts are told so."""

    prices: str = "yfinance"
    """Source of prices, dividends and splits: archive, demo or yfinance."""
    filings: str | None = None
    """Source of as-filed statements: archive or edgar."""
    news: str | None = None
    """Source of news: archive."""
    macro: str | None = None
    """Source of economic series: archive."""
    social: str | None = None
    """Source of social text: archive."""
    insiders: str | None = None
    """Source of insider transactions: archive."""
    archive: str | None = None
    """Folder or s3:// address of the archive source, seen from the experiment file; --archive beats it."""
    mask: bool = False
    """Neuter ticker, names and dates, and rescale prices to 100, so that memorised history helps less."""
    decision_time: Literal["close", "open"] = "close"
    """When the decision is taken on its date."""


def as_repeats(value: Any) -> Any:
    """A plain number is that many repeats of every case."""
    return {"all_cases": value} if isinstance(value, int) and not isinstance(value, bool) else value


def as_data(value: Any) -> Any:
    """One name is the source of prices."""
    return {"prices": value} if isinstance(value, str) else value


def as_dates(value: Any) -> Any:
    """A list stands for its days."""
    return {"days": value} if isinstance(value, list | tuple) else value


SHORTHANDS: dict[str, dict[str, Any]] = {
    "dates": {"type": "array", "items": {"type": "string", "format": "date"}, "minItems": 1},
    "repeats": {"type": "integer", "minimum": 1},
    "data": {"type": "string"},
}
"""What else may stand in place of these parts; the schema for editors says both."""

DatesPart = Annotated[Dates, BeforeValidator(as_dates)]
RepeatsPart = Annotated[Repeats, BeforeValidator(as_repeats)]
DataPart = Annotated[Data, BeforeValidator(as_data)]
