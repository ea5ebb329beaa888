"""The snapshot: the frozen, content-addressed inputs of one case."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import Any

from agents.errors import LookAhead, SnapshotError
from agents.inputs.datum import (
    PARTS,
    UTC,
    Bar,
    Datum,
    Dividend,
    Fact,
    Insider,
    Macro,
    News,
    Reading,
    Split,
    from_table,
    moment_text,
    to_table,
)

FORMAT = 1
MASK = "ASSET"
"""What a masked instrument is called."""


@dataclass(frozen=True)
class Snapshot:
    """Everything the analysts may know about a case; it refuses to exist with a datum from after its decision time."""

    ticker: str
    date: dt.date
    decision_time: dt.datetime
    name: str | None = None
    """The company's name, where the source knows it."""
    masked: bool = False
    """Ticker, names and dates are neutered and prices rescaled: `label` and relative days are shown instead."""
    scale: float = 1.0
    """What raw prices were multiplied with (masked snapshots only)."""
    prices: tuple[Bar, ...] = ()
    splits: tuple[Split, ...] = ()
    dividends: tuple[Dividend, ...] = ()
    indicators: tuple[Reading, ...] = ()
    returns: tuple[Reading, ...] = ()
    """Named return_1, return_5 ...: to the last close, dividends included."""
    news: tuple[News, ...] = ()
    filings: tuple[Fact, ...] = ()
    insiders: tuple[Insider, ...] = ()
    macro: tuple[Macro, ...] = ()
    sources: Mapping[str, str] = field(default_factory=dict)
    """part -> name of the source that was asked."""
    absent: Mapping[str, str] = field(default_factory=dict)
    """part (or `sessions`, `name`, `social` ...) -> one sentence on what is not there."""
    left_out: Mapping[str, int] = field(default_factory=dict)
    """part -> rows that nobody can date, and which are therefore not shown."""
    cut: Mapping[str, int] = field(default_factory=dict)
    """part -> older rows of the window that were not kept."""
    shown: dict[Any, Any] = field(default_factory=dict, init=False, repr=False, compare=False)
    """What was written of it before, kept for the next role that reads the same; no part of its identity."""

    def __post_init__(self) -> None:
        for part, datum in self.data():
            if datum.available_at > self.decision_time:
                raise LookAhead(_look_ahead(self, part, datum))

    @property
    def case_id(self) -> str:
        return f"{self.ticker}@{self.date.isoformat()}"

    @property
    def label(self) -> str:
        """What the analysts are told the instrument is called."""
        return MASK if self.masked else self.ticker

    @property
    def last(self) -> Bar:
        """The newest bar."""
        return self.prices[-1]

    def data(self) -> Iterator[tuple[str, Datum]]:
        """Every datum with the part it belongs to."""
        for part in PARTS:
            for datum in getattr(self, part):
                yield part, datum

    @cached_property
    def sha256(self) -> str:
        """Hash of the bytes; the snapshot's name."""
        return sha256(self.to_bytes()).hexdigest()

    def to_bytes(self) -> bytes:
        """Canonical JSON: equal snapshots are equal bytes."""
        return json.dumps(_to_dict(self), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False).encode()

    @classmethod
    def from_bytes(cls, raw: bytes) -> Snapshot:
        """Raises SnapshotError when the bytes are no snapshot, LookAhead when one of its data came too late."""
        try:
            return _from_dict(json.loads(raw))
        except (ValueError, KeyError, TypeError) as problem:
            raise SnapshotError(f"these bytes are no snapshot of format {FORMAT}: {problem}") from problem


def load_snapshot(folder: Path, sha: str) -> Snapshot:
    """The snapshot named `sha` in a local folder. Raises SnapshotError when it is missing or altered."""
    path = Path(folder) / f"{sha}.json"
    if not path.exists():
        raise SnapshotError(f"no snapshot {sha[:12]} in {folder}; run the experiment again to freeze it")
    raw = path.read_bytes()
    if sha256(raw).hexdigest() != sha:
        raise SnapshotError(f"{path} was altered: its bytes do not match its name; delete it and run again")
    return Snapshot.from_bytes(raw)


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
    known = raw | {
        "date": dt.date.fromisoformat(raw["date"]),
        "decision_time": dt.datetime.fromisoformat(raw["decision_time"]).astimezone(UTC),
    }
    return Snapshot(**known | {part: from_table(kind, parts[part]) for part, kind in PARTS.items()})


def _look_ahead(snapshot: Snapshot, part: str, datum: Datum) -> str:
    source = snapshot.sources.get(part, "unknown")
    return (
        f"{snapshot.case_id}: {part} {_named(datum)!r} of source {source!r} became available at "
        f"{moment_text(datum.available_at)}, after the decision time {moment_text(snapshot.decision_time)}"
    )


def _named(datum: Datum) -> str:
    keys = ("date", "ex_date", "title", "item", "name", "series", "person")
    return str(next(getattr(datum, key) for key in keys if hasattr(datum, key)))[:80]
