"""Tickers, dates, repeats and data of an experiment, and its decision dates on the exchange calendar."""

from __future__ import annotations

import datetime as dt
from pathlib import Path
from typing import Annotated, Any, Literal, Self
from zoneinfo import ZoneInfo

from pydantic import BeforeValidator, Field, ValidationInfo, field_validator, model_validator

import agents
from domain.data_kinds import DATA_KINDS
from harness.errors import InvalidInput, Problem
from harness.experiment.references import known_sources, refused, require
from harness.experiment.terms import ConfigModel, Whole, distinct

Ticker = Annotated[str, Field(pattern=r"^\^?[A-Z0-9][A-Z0-9.^=-]{0,14}$")]
"""As Yahoo writes them, indices such as ^GSPC included."""


class Dates(ConfigModel):
    """Decision dates by rule instead of by list: `from` and `to`, or the last sessions before today. Sessions and closes are
    those of New York."""

    from_: dt.date | None = Field(default=None, alias="from")
    """First day that may be a decision date."""
    to: dt.date | None = None
    """Last day that may be a decision date."""
    last_sessions: Whole | None = None
    """Count back this many exchange sessions from today instead of `from` and `to`."""
    every_sessions: Whole = 1
    """Take every n-th session; at least the longest horizon keeps outcome windows from overlapping."""
    days: tuple[dt.date, ...] | None = None
    """Explicit dates together with `non_session`."""
    non_session: Literal["refuse", "previous", "next"] = "refuse"
    """What to do with a date on which the exchange is closed."""

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        ways = [self.days is not None, self.last_sessions is not None, self.from_ is not None or self.to is not None]
        if sum(ways) != 1:
            raise ValueError("give dates in exactly one way: from and to, last_sessions, or days")
        if ways[2] and (self.from_ is None or self.to is None):
            raise ValueError("from and to belong together")
        if self.from_ and self.to and self.from_ > self.to:
            raise ValueError(f"from {self.from_} is after to {self.to}")
        return self


class CaseTerms(ConfigModel):
    """What happens to cases that a source does not have."""

    skip_unavailable: bool = False
    """Leave out a case that cannot be frozen (before the listing of its ticker, for example) and name it, instead of refusing
    the run."""


class Repeats(ConfigModel):
    """How often each case is decided, with fresh answers each time; a rule decides once, since it always decides alike."""

    baseline: Whole = 3
    """Repeats by the baseline. From 2 on, its agreement with itself is known; 3 make it precise."""
    arms: Whole = 3
    """Repeats by each other arm."""

    @model_validator(mode="before")
    @classmethod
    def _read_old_run(cls, raw: Any, info: ValidationInfo) -> Any:
        """Experiments in older run folders repeat all cases, and some of them more often; files must use the new keys."""
        former = next((key for key in ("noise_floor", "all_cases") if isinstance(raw, dict) and key in raw), None)
        if former is None:
            return raw
        if info.context is not None:
            what = f"repeats.{former} is gone: how often the baseline agrees with itself is now measured on every case"
            raise refused(what, "write repeats: 3, or repeats: {baseline: 3, arms: 2}")
        count = raw.get("all_cases", 1)
        return {"baseline": count, "arms": count}


class Data(ConfigModel):
    """Where the frozen inputs come from; the analysts are told which data is missing."""

    prices: str = "yfinance"
    """Source of prices, dividends and splits: archive, demo or yfinance; or a source of your own. Each kind of data takes
    one: a Python file, relative to this file, or an entry point of the group tradingagents_harness.sources."""
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
    """When the decision is taken on its date: at the close or the open in New York."""

    @field_validator(*DATA_KINDS)
    @classmethod
    def _known_source(cls, name: str | None, info: ValidationInfo) -> str | None:
        if name and info.context is not None and agents.is_own_source(name):
            return name  # Loaded when the whole file is known to be valid.
        return name and require("source", name, known_sources(str(info.field_name)), info)

    @model_validator(mode="after")
    def _archive_has_a_folder(self, info: ValidationInfo) -> Self:
        if info.context is not None and not self.archive and "archive" in (getattr(self, kind) for kind in DATA_KINDS):
            raise refused("the source archive needs a folder", "set data.archive: DIR, or pass --archive DIR")
        return self


def archive_address(address: str, experiment_dir: Path | None) -> str:
    """Address of an archive: an object store unchanged, a folder relative to the experiment file."""
    return address if "://" in address else str(archive_folder(address, experiment_dir))


def archive_folder(address: str, experiment_dir: Path | None) -> Path:
    """An archive's folder as the experiment file means it: relative to the file."""
    path = Path(address).expanduser()
    return path if path.is_absolute() or experiment_dir is None else experiment_dir / path


def as_repeats(value: Any) -> Any:
    """A plain number is that many repeats of every case by every arm."""
    return {"baseline": value, "arms": value} if isinstance(value, int) and not isinstance(value, bool) else value


def as_data(value: Any) -> Any:
    """One name is the source of prices."""
    return {"prices": value} if isinstance(value, str) else value


def as_dates(value: Any) -> Any:
    """A list of days is allowed as well."""
    return {"days": distinct(value)} if isinstance(value, list | tuple) else value


SHORTHANDS: dict[str, dict[str, Any]] = {
    "dates": {"type": "array", "items": {"type": "string", "format": "date"}, "minItems": 1},
    "repeats": {"type": "integer", "minimum": 1},
    "data": {"type": "string"},
}
"""Shorthands for these parts; part of the schema for editors."""

DatesPart = Annotated[Dates, BeforeValidator(as_dates)]
RepeatsPart = Annotated[Repeats, BeforeValidator(as_repeats)]
DataPart = Annotated[Data, BeforeValidator(as_data)]


NEW_YORK = ZoneInfo("America/New_York")


def decision_dates(rule: Dates, now: dt.datetime | None = None) -> tuple[dt.date, ...]:
    """Decision dates, ascending. Raises InvalidInput for closed days, days whose close is still to come, and no day at all."""
    now = now or dt.datetime.now(dt.UTC)
    last = _last_closed(now)
    problems = [*_late(rule, last), *_closed(rule, last)]
    if problems:
        raise InvalidInput(problems)
    chosen = _listed(rule) if rule.days is not None else _ruled(rule, last)
    if not chosen:
        raise InvalidInput([Problem("dates", "the matrix is empty: no session in this range", "widen from and to")])
    return chosen


def _late(rule: Dates, last: dt.date) -> list[Problem]:
    days = [day for day in (*(rule.days or ()), *([rule.to] if rule.to else [])) if day > last]
    problem = f"{', '.join(map(str, days))}: this session has not closed in New York yet; the last closed one is {last}"
    return [Problem("dates", problem, "decide on past dates only")] if days else []


def _closed(rule: Dates, last: dt.date) -> list[Problem]:
    if rule.non_session != "refuse":
        return []
    return [_no_session(day) for day in rule.days or () if day <= last and not agents.is_session(day)]


def _listed(rule: Dates) -> tuple[dt.date, ...]:
    move = agents.previous_session if rule.non_session == "previous" else agents.next_session
    return tuple(sorted({day if agents.is_session(day) else move(day) for day in rule.days or ()}))


def _no_session(day: dt.date) -> Problem:
    try:
        near = f"known: {agents.previous_session(day)}, {agents.next_session(day)}"
    except ValueError as error:
        return Problem("dates", str(error), "take a later date")
    problem = f"{day} ({day:%A}) is not a session of the New York Stock Exchange; {near}"
    return Problem("dates", problem, "use one of them, or set dates: {days: [...], non_session: previous}")


def _ruled(rule: Dates, last: dt.date) -> tuple[dt.date, ...]:
    if rule.last_sessions is None:
        first, end = rule.from_ or dt.date.min, rule.to or last
        return agents.sessions_between(first, end)[:: rule.every_sessions]
    first = last - dt.timedelta(days=rule.last_sessions * 2 + 14)
    return tuple(agents.sessions_between(first, last)[-rule.last_sessions :][:: rule.every_sessions])


def _last_closed(now: dt.datetime) -> dt.date:
    today = now.astimezone(NEW_YORK).date()
    if agents.is_session(today) and agents.close_of(today) <= now:
        return today
    return agents.previous_session(today)
