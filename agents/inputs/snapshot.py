"""The snapshot: the frozen, content-addressed inputs of one case."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from typing import Any

from agents.errors import LookAhead, SnapshotError
from agents.inputs.datum import (
    PARTS,
    UTC,
    Bar,
    Datum,
    Dividend,
    Fact,
    Indicator,
    Insider,
    Macro,
    News,
    Split,
    from_table,
    moment_text,
    to_table,
)
from domain.text import decode_json

FORMAT = 1
MASK = "ASSET"
"""The name of a masked instrument."""


@dataclass(frozen=True)
class Snapshot:
    """Everything that the analysts may know about a case. Raises LookAhead for a row from after its decision time."""

    ticker: str
    date: dt.date
    decision_time: dt.datetime
    name: str | None = None
    """The company's name, if the source knows it."""
    masked: bool = False
    """Whether ticker, names and dates are removed and prices rescaled; prompts show `label` and relative days."""
    scale: float = 1.0
    """Factor of the prices (masked snapshots only)."""
    prices: tuple[Bar, ...] = ()
    splits: tuple[Split, ...] = ()
    dividends: tuple[Dividend, ...] = ()
    indicators: tuple[Indicator, ...] = ()
    returns: tuple[Indicator, ...] = ()
    """Named return_1, return_5 ...: to the last close, dividends included."""
    news: tuple[News, ...] = ()
    filings: tuple[Fact, ...] = ()
    insiders: tuple[Insider, ...] = ()
    macro: tuple[Macro, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict)
    """part -> name of its source."""
    absent: Mapping[str, str] = field(default_factory=dict)
    """part (or `sessions`, `name`, `social` ...) -> one sentence on what is missing."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """part -> number of rows without a date, which are not shown."""
    cut: Mapping[str, int] = field(default_factory=dict)
    """part -> number of older rows of the window that were not kept."""
    shown: dict[Any, Any] = field(default_factory=dict, init=False, repr=False, compare=False)
    """Cache of rendered text for the next role that reads the same; not part of the identity."""

    def __post_init__(self) -> None:
        for part, datum in self.data():
            if datum.available_at > self.decision_time:
                raise LookAhead(_look_ahead(self, part, datum))

    @property
    def case_id(self) -> str:
        return f"{self.ticker}@{self.date.isoformat()}"

    @property
    def label(self) -> str:
        """The name of the instrument in prompts."""
        return MASK if self.masked else self.ticker

    @property
    def last(self) -> Bar:
        """The newest bar."""
        return self.prices[-1]

    def data(self) -> Iterator[tuple[str, Datum]]:
        """Every row with the part that it belongs to."""
        for part in PARTS:
            for datum in getattr(self, part):
                yield part, datum

    @cached_property
    def sha256(self) -> str:
        """Hash of the bytes, by which the snapshot is stored."""
        return sha256(self.to_bytes()).hexdigest()

    def to_bytes(self) -> bytes:
        """Canonical JSON: equal snapshots are equal bytes."""
        return json.dumps(_to_dict(self), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()

    @classmethod
    def from_bytes(cls, raw: bytes) -> Snapshot:
        """Raises SnapshotError if the bytes are not a snapshot, LookAhead for a row that came too late."""
        try:
            return _from_dict(decode_json(raw))
        except (ValueError, KeyError, TypeError) as problem:
            raise SnapshotError(f"these bytes are not a snapshot of format {FORMAT}: {problem}") from problem


def _to_dict(snapshot: Snapshot) -> dict[str, Any]:
    plain = ("ticker", "name", "masked", "scale")
    return {
        "format": FORMAT,
        **{key: getattr(snapshot, key) for key in plain},
        "date": snapshot.date.isoformat(),
        "decision_time": moment_text(snapshot.decision_time),
        **{key: dict(getattr(snapshot, key)) for key in ("sources", "absent", "left_out", "cut")},
        "parts": {part: to_table(kind, getattr(snapshot, part)) for part, kind in PARTS.items()},
    }


def _from_dict(raw: dict[str, Any]) -> Snapshot:
    if raw.pop("format") != FORMAT:
        raise ValueError("another format")
    parts = raw.pop("parts")
    fields = raw | {
        "date": dt.date.fromisoformat(raw["date"]),
        "decision_time": dt.datetime.fromisoformat(raw["decision_time"]).astimezone(UTC),
    }
    return Snapshot(**fields | {part: from_table(kind, parts[part]) for part, kind in PARTS.items()})


def _look_ahead(snapshot: Snapshot, part: str, datum: Datum) -> str:
    source = snapshot.sources.get(part, "unknown")
    return (
        f"{snapshot.case_id}: {part} {_named(datum)!r} of source {source!r} became available at "
        f"{moment_text(datum.available_at)}, after the decision time {moment_text(snapshot.decision_time)}"
    )


def _named(datum: Datum) -> str:
    keys = ("date", "ex_date", "title", "item", "name", "series", "person")
    return str(next(getattr(datum, key) for key in keys if hasattr(datum, key)))[:80]
