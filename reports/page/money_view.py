"""Data of the sections on money, time and economics: bars, waterfalls, forecasts."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any

from reports import format
from reports.format import known
from reports.metrics import catalog
from reports.money import breakdown, economics
from reports.money.breakdown import CostSplit, Spend, Waste
from reports.page import charts
from reports.page.charts import Piece, StackedBar, Track

if TYPE_CHECKING:
    import pandas as pd

    from reports.load import Run
    from reports.money.economics import ArmCost, Forecast, LocalUse

LARGE_QUEUE = 0.1
"""Share of the requests' time in the queues of servers from which the page says so."""


@dataclass(frozen=True)
class Waterfall:
    """The calls of one cell."""

    arm: str
    slot: int
    case_id: str
    repeat: int
    calls: pd.DataFrame

    @cached_property
    def tracks(self) -> Sequence[Track]:
        begin = (self.calls["started_at"] - _delta(self.calls["queued_s"].fillna(0) + self.calls["backoff_s"].fillna(0))).min()
        return [_track(call, begin) for call in self.calls.to_dict("records")]


def typical_waterfalls(run: Run) -> list[Waterfall]:
    """For each arm the cell whose time is closest to the median."""
    return [_of_cell(run, arm, cell_id) for arm, cell_id in breakdown.typical_cells(run, run.arms).items()]


def _of_cell(run: Run, arm: str, cell_id: str) -> Waterfall:
    cell = run.cells[run.cells["cell_id"] == cell_id].iloc[0]
    calls = run.calls[(run.calls["cell_id"] == cell_id) & (run.calls["cell_attempt"] == cell["attempts"])]
    return Waterfall(arm, run.arms.index(arm), str(cell["case_id"]), int(cell["repeat"]), calls.sort_values("started_at"))


def _delta(seconds: pd.Series) -> pd.Series:
    import pandas as pd

    return pd.to_timedelta(seconds, unit="s")


def _track(call: Mapping[Any, Any], begin: Any) -> Track:
    seconds = {name: float(call[name]) if known(call[name]) else 0.0 for name in breakdown.TIMES}
    sent = (call["started_at"] - begin).total_seconds()
    at = sent - seconds["queued_s"] - seconds["backoff_s"]
    failed = call["outcome"] != "answered"
    pieces = []
    for kind, size in breakdown.split_time(seconds):
        pieces.append(Piece("failed" if failed and kind in ("first", "rest") else kind, size, at))
        at += size
    name = str(call["role"]).replace("_", " ") + (f" {call['round']}" if call["round"] else "")
    name += "" if call["kind"] == "primary" else f" ({str(call['kind']).replace('_', ' ')})"
    note = str(call["outcome"]) if failed else ""
    return Track(name, tuple(pieces), sent + seconds["duration_s"], note, failed)


class MoneyView:
    """Where money, tokens and time went."""

    def __init__(self, run: Run, slots: Mapping[str, int]) -> None:
        self.run, self._slots = run, slots

    @cached_property
    def spends(self) -> dict[str, Spend]:
        return breakdown.by_arm(self.run)

    @cached_property
    def cost_splits(self) -> dict[str, CostSplit]:
        return breakdown.cost_splits(self.run)

    @cached_property
    def whole_split(self) -> CostSplit:
        return breakdown.whole_split(self.run)

    @cached_property
    def roles(self) -> dict[str, dict[str, Spend]]:
        return breakdown.by_role(self.run)

    @cached_property
    def wasted(self) -> list[Waste]:
        return breakdown.wasted(self.run)

    @cached_property
    def failures(self) -> list[tuple[str, str, int, str]]:
        return breakdown.failures(self.run)

    @cached_property
    def has_lanes(self) -> bool:
        """Whether some answer was not asked for at once and at the standard price."""
        return any(share.lane != breakdown.AT_ONCE for spend in self.spends.values() for share in spend.lanes)

    @cached_property
    def uncertain(self) -> list[str]:
        """One sentence per arm on requests that may have been billed without an answer."""
        return [
            f"{arm}: {format.count(calls, 'request')} may have been billed without an answer (uncertain); "
            f"counted in the cost at the worst case, {format.usd(usd)}"
            for arm, calls, usd in breakdown.uncertain(self.run)
        ]

    @cached_property
    def token_bars(self) -> list[StackedBar]:
        return charts.token_bars(self.spends, self._slots)

    @cached_property
    def time_bars(self) -> list[StackedBar]:
        return charts.time_bars(self.spends, self._slots)

    @cached_property
    def token_kinds(self) -> frozenset[str]:
        """Kinds that the bars of tokens show."""
        return frozenset(piece.kind for drawn in self.token_bars for piece in drawn.pieces if piece.size > 0)

    @cached_property
    def time_kinds(self) -> frozenset[str]:
        """Kinds that the bars of time and the waterfalls show; both ways to the first token have one colour."""
        pieces = [piece for drawn in self.time_bars for piece in drawn.pieces]
        pieces += [piece for drawn in self.waterfalls for track in drawn.tracks for piece in track.pieces]
        return frozenset("prefill" if piece.kind == "first" else piece.kind for piece in pieces if piece.size > 0)

    @cached_property
    def queueing(self) -> dict[str, float]:
        """Arm -> share of its latency that was waiting inside its servers, where it is large."""
        shares = {arm: breakdown.server_queue_share(spend) for arm, spend in self.spends.items()}
        return {arm: share for arm, share in shares.items() if share is not None and share >= LARGE_QUEUE}

    @cached_property
    def waterfalls(self) -> list[Waterfall]:
        return typical_waterfalls(self.run)


class EconomicsView:
    """Cold caches, self-hosted models, forecasts."""

    def __init__(self, run: Run) -> None:
        self.run = run

    @cached_property
    def costs(self) -> dict[str, ArmCost]:
        return economics.by_arm(self.run)

    @cached_property
    def usd_per_usable(self) -> dict[str, float]:
        """arm -> the metric `cost`, the same number as everywhere."""
        return {arm: estimate.value for arm, estimate in catalog.figures_by_arm(self.run, "cost").items()}

    @cached_property
    def local_use(self) -> list[LocalUse]:
        return economics.local_use(self.run)

    @cached_property
    def forecasts(self) -> list[Forecast]:
        """Forecasts of arms with a bill by hosted models, or with one still open."""
        return [forecast for forecast in economics.forecasts(self.run) if forecast.high or forecast.paid]

    @cached_property
    def has_caching(self) -> bool:
        """Whether caches changed any price."""
        return any(cost.saved_by_caching for cost in self.costs.values())

    @property
    def is_there(self) -> bool:
        return bool(self.has_caching or self.local_use or self.forecasts)

    @staticmethod
    def per_usable(total: float | None, use: LocalUse) -> float | None:
        return total / use.usable if total is not None and use.usable else None
