"""Returns after each decision: known excess returns, and the windows of them that do not overlap."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import pandas as pd

if TYPE_CHECKING:
    from reports.load import Run


def non_overlapping(windows: Sequence[tuple[Any, Any, Any]]) -> list[Any]:
    """Return the largest set of dates whose (date, entry, exit) windows do not overlap; one may begin where another ends."""
    chosen, free_from = [], None
    for date, entry, leave in sorted(windows, key=lambda window: (window[2], window[1])):
        if free_from is None or entry >= free_from:
            chosen.append(date)
            free_from = leave
    return sorted(chosen)


def windows_of_dates(dates: Sequence[Any], horizon: int) -> int:
    """Number of these decision dates with non-overlapping windows; weekdays count as sessions, holidays are ignored."""
    import numpy as np

    days = np.sort(np.asarray(dates, dtype="datetime64[D]"))
    entry = np.busday_offset(days, 1, roll="backward")
    leave = np.busday_offset(days, 1 + horizon, roll="backward")
    return len(non_overlapping(list(zip(days, entry, leave, strict=True))))


def known_excess(run: Run, horizon: int) -> pd.Series[Any]:
    """Return case_id -> excess return over a horizon, for cases whose exit is known."""
    rows = _rows(run, horizon)
    return rows.drop_duplicates("case_id").set_index("case_id")["excess"].astype(float).dropna()


def spans(run: Run, horizon: int, dates: pd.Series[Any]) -> dict[Any, tuple[Any, Any]]:
    """Return date -> (first entry, last exit) of its known outcomes; `dates` maps case_id to date."""
    rows = _rows(run, horizon)
    rows = rows[rows["excess"].notna() & rows["case_id"].isin(dates.index)]
    rows = rows.assign(date=dates.reindex(rows["case_id"]).to_numpy())
    ends = rows.dropna(subset=["date"]).groupby("date").agg({"entry_at": "min", "exit_at": "max"})
    return {date: (entry, leave) for date, entry, leave in ends.itertuples(name=None)}


def independent_dates(of_dates: Mapping[Any, tuple[Any, Any]], dates: Iterable[Any]) -> list[Any]:
    """The largest subset of these dates whose outcome windows do not overlap."""
    return non_overlapping([(date, *of_dates[date]) for date in dates if date in of_dates])


def statuses(run: Run, horizon: int) -> dict[str, int]:
    """known | pending | missing -> cases."""
    rows = run.outcomes[run.outcomes["horizon"] == horizon]
    return {str(status): int(count) for status, count in rows["status"].value_counts().items()}


def benchmark(run: Run) -> str | None:
    """Benchmark of the excess returns, as recorded in the table."""
    named = run.outcomes["benchmark"].dropna()
    return str(named.iloc[0]) if len(named) else None


def _rows(run: Run, horizon: int) -> pd.DataFrame:
    rows = run.outcomes
    return rows[(rows["horizon"] == horizon) & (rows["status"] == "known")]
