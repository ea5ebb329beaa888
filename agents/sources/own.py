"""Data sources of a user: a Python file or an entry point that an experiment names, known by its name and its file's hash."""

from __future__ import annotations

import datetime as dt
import inspect
import math
import sys
from collections.abc import Callable, Mapping
from functools import partial, wraps
from importlib.metadata import entry_points
from numbers import Real
from pathlib import Path
from typing import Any

from agents.errors import BadSource, SnapshotError
from agents.inputs.datum import Bar, Fact, Insider, Macro, News
from agents.sources import OWN_SOURCES, SOURCES, CurrentData, PriceHistory, Source, SourceRecord, SourceRows, SourceSettings
from domain.data_kinds import DATA_KINDS
from domain.user_code import UserCodeError, digest, load, path_of, place_of

GROUP = "tradingagents_harness.sources"
"""Entry points of packages that bring a source: name = module."""
_ROWS: Mapping[str, Any] = {"filings": Fact, "news": News, "social": News, "insiders": Insider, "macro": Macro}
_ASKED = ("fingerprint", "tickers", "company", "prices", "adjusted", "today", *_ROWS)


def is_own_source(name: str) -> bool:
    """Whether the name means a file, or an entry point of an installed package, and no built-in source."""
    reference = name.partition("@")[0]
    if name in SOURCES or not reference:
        return False
    return reference.endswith(".py") or bool(entry_points(group=GROUP, name=reference))


def declare_source(name: str, kind: str, folder: Path) -> str:
    """Load the file, and make its source known to `open_sources` as `reference@hash`, which is returned.

    A name that has a hash already is refused if the file has another one. Raises UserCodeError with file and line."""
    reference, _, wanted = name.partition("@")
    path = path_of(reference, folder, GROUP)
    version = digest(path)[:12]
    if wanted and wanted != version:
        raise UserCodeError(f"{reference} has changed: its hash is {version}, not {wanted}; write only {reference}")
    source_class = _only_source(path)
    kinds = frozenset(each for each in DATA_KINDS if getattr(source_class, each) is not getattr(Source, each))
    if kind not in kinds:
        raise UserCodeError(f"{reference}: {source_class.__name__} has no {kind}; define its method {kind}")
    full_name = f"{reference}@{version}"
    setattr(sys.modules[source_class.__module__], full_name, partial(opened, source_class, full_name))
    OWN_SOURCES[full_name] = SourceRecord(f"{source_class.__module__}:{full_name}", kinds, source_class.host)
    return full_name


def _only_source(path: Path) -> type[Source]:
    module = load(path)
    classes = [
        each
        for each in vars(module).values()
        if inspect.isclass(each) and issubclass(each, Source) and each.__module__ == module.__name__
    ]
    if len(classes) != 1:
        names = ", ".join(each.__name__ for each in classes) or "none"
        raise UserCodeError(f"{path.name}: one class derived from agents.sources.Source is expected; it has {names}")
    return classes[0]


def guarded(source: Source, name: str) -> Source:
    """The source under this name; whatever it raises or returns wrongly becomes a BadSource that names file and line."""
    path = Path(inspect.getfile(type(source)))
    source.name = name
    for method in _ASKED:
        setattr(source, method, _named(getattr(source, method), method, path))
    return source


def opened(source_class: type[Source], name: str, settings: SourceSettings) -> Source:
    """A source of a user, guarded. Raises BadSource."""
    try:
        return guarded(source_class(settings), name)
    except Exception as error:
        raise BadSource(place_of(error, [Path(inspect.getfile(source_class))])) from error


def _named(method: Callable[..., Any], name: str, path: Path) -> Callable[..., Any]:
    @wraps(method)
    def call(*arguments: Any) -> Any:
        try:
            returned = method(*arguments)
            wrong = _wrong(name, returned)
        except SnapshotError:
            raise
        except Exception as error:
            raise BadSource(place_of(error, [path])) from error
        if wrong:
            raise BadSource(f"{path.name}, {name}: {wrong}")
        return returned

    return call


def _wrong(name: str, returned: Any) -> str:
    """What is wrong with a returned value; empty if nothing is."""
    if name == "prices":
        return _wrong_prices(returned)
    if name in _ROWS:
        row = _ROWS[name]
        if not isinstance(returned, SourceRows):
            return f"returned {type(returned).__name__}; return SourceRows"
        if not all(isinstance(each, row) and _is_moment(each.available_at) for each in returned.rows):
            return f"every row must be a {row.__name__} whose available_at is a time with a time zone"
    if name == "today" and not isinstance(returned, CurrentData):
        return f"returned {type(returned).__name__}; return CurrentData"
    if name == "fingerprint" and not isinstance(returned, str):
        return f"returned {type(returned).__name__}; return a text"
    return ""


def _wrong_prices(returned: Any) -> str:
    if not isinstance(returned, PriceHistory):
        return f"returned {type(returned).__name__}; return PriceHistory"
    for bar in returned.bars:
        if not isinstance(bar, Bar) or not isinstance(bar.date, dt.date) or not _is_moment(bar.available_at):
            return "every bar must be a Bar with a date, and an available_at that is a time with a time zone"
        if not all(isinstance(value, Real) and math.isfinite(value) for value in (bar.open, bar.high, bar.low, bar.close)):
            return f"the bar of {bar.date} has a price that is no finite number; leave out a session without prices"
    days = [bar.date for bar in returned.bars]
    return "" if days == sorted(set(days)) else "the bars must be in the order of their dates, each date once"


def _is_moment(value: Any) -> bool:
    return isinstance(value, dt.datetime) and value.tzinfo is not None
