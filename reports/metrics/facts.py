"""The cells of a run arranged for metrics: one row per case, one column per arm, repeats averaged."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from domain.ratings import RATINGS, SCORES
from reports.metrics import outcomes
from reports.money import breakdown
from reports.stats import agreement

if TYPE_CHECKING:
    from reports.load import Run


class Facts:
    """The data that metric functions read. Unknown values stay NaN."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.cells = run.measured_cells
        self.arms = run.arms
        self.baseline = run.baseline
        self.rules = run.settings.rule_arms

    @cached_property
    def dates(self) -> pd.Series[Any]:
        """case_id -> date."""
        return self.cells.drop_duplicates("case_id").set_index("case_id")["date"].sort_index()

    @cached_property
    def tickers(self) -> Any:
        """Ticker of each case, in the order of `dates`."""
        tickers = self.cells.drop_duplicates("case_id").set_index("case_id")["ticker"]
        return tickers.reindex(self.dates.index).to_numpy(dtype=object)

    @cached_property
    def date_codes(self) -> Any:
        """Number of the date of each case, in the order of `dates`."""
        return np.unique(self.dates.to_numpy(), return_inverse=True)[1]

    @cached_property
    def case_codes(self) -> Any:
        """Number of the case of each cell, in the order of `dates`."""
        return self.dates.index.get_indexer(pd.Index(self.cells["case_id"]))

    def cells_of(self, arm: str) -> Any:
        """Which cells are an arm's."""
        return self._arm_cells[arm]

    @cached_property
    def _arm_cells(self) -> dict[str, Any]:
        return {arm: (self.cells["arm"] == arm).to_numpy() for arm in self.arms}

    def by_case(self, values: pd.Series[Any], how: Literal["mean", "sum"] = "mean") -> pd.DataFrame:
        """Cells' values -> cases x arms: mean or sum over the repeats that are known, NaN where none is."""
        groups = values.astype(float).groupby([self.cells["case_id"], self.cells["arm"]])
        collapsed = groups.sum(min_count=1) if how == "sum" else groups.mean()
        frame: pd.DataFrame = collapsed.unstack("arm").reindex(index=self.dates.index, columns=list(self.arms))
        return frame

    def timed(self, values: pd.Series[Any]) -> pd.Series[Any]:
        """Times of cells, NaN if not comparable: latencies are comparable within one lane only, and a cell whose answers
        were fetched later has none."""
        return values.astype(float).where(self._has_comparable_time)

    @cached_property
    def _has_comparable_time(self) -> pd.Series[Any]:
        lanes = self.cells["cell_id"].map(_lanes_of_cells(self.run.calls)).astype(object).fillna(breakdown.AT_ONCE)
        return lanes == breakdown.compared_lane(lanes, self.cells["arm"] == self.baseline)

    @cached_property
    def usable(self) -> pd.Series[Any]:
        """Whether each cell ended with a usable decision."""
        return (self.cells["status"] == "ok") & self.cells["rating"].notna()

    @cached_property
    def score(self) -> pd.Series[Any]:
        """Score of usable cells, else NaN."""
        return self.cells["score"].astype(float).where(self.usable)

    @cached_property
    def position(self) -> pd.Series[Any]:
        """+1 for BUY, 0 for HOLD, -1 for SELL, NaN without a usable decision."""
        signs: pd.Series[Any] = np.sign(self.score)
        return signs

    def excess(self, horizon: int) -> pd.Series[Any]:
        """case_id -> known excess return at a horizon, NaN where pending or missing."""
        return outcomes.known_excess(self.run, horizon).reindex(self.dates.index)

    def of_cell(self, by_case: pd.Series[Any]) -> pd.Series[Any]:
        """A value per case, repeated for each of its cells."""
        return self.cells["case_id"].map(by_case).astype(float)

    def counts(self, arm: str) -> pd.DataFrame:
        """How often an arm gave each rating in each case (cases x ratings)."""
        return self._counts[arm]

    @cached_property
    def _counts(self) -> dict[str, pd.DataFrame]:
        cells = self.cells[self.usable]
        counted = cells.groupby(["arm", "case_id", "rating"]).size().unstack("rating").reindex(columns=list(RATINGS))
        return {arm: self._counts_of(counted, arm) for arm in self.arms}

    def _counts_of(self, counted: pd.DataFrame, arm: str) -> pd.DataFrame:
        has_cells = arm in counted.index.get_level_values("arm")
        mine = counted.loc[[arm]].droplevel("arm") if has_cells else counted.droplevel("arm").iloc[:0]
        return mine.reindex(self.dates.index).fillna(0.0)

    def pair_tables(self, arm: str, other: str, *, of_all: bool = False) -> Any:
        """Rating tables (cases x 5 x 5) of all pairs of repeats of two arms, as shares; NaN without a pair.

        Only usable repeats are paired, or all with `of_all`: then a repeat without a usable decision agrees with nothing.
        """
        if arm == other:
            return agreement.against_itself(self.counts(arm).to_numpy(), self._repeats(arm, of_all))
        arm_shares, other_shares = (_shares(self.counts(name).to_numpy(), self._repeats(name, of_all)) for name in (arm, other))
        return agreement.joint(arm_shares, other_shares)

    def _repeats(self, arm: str, of_all: bool) -> Any:
        if not of_all:
            return self.counts(arm).to_numpy().sum(axis=1)
        return self.ended[arm].to_numpy(dtype=float)

    @cached_property
    def ended(self) -> pd.DataFrame:
        """Cells that ended, cases x arms."""
        return self.by_case(pd.Series(1.0, index=self.cells.index), how="sum").fillna(0.0)


def _shares(counts: Any, repeats: Any) -> Any:
    with np.errstate(divide="ignore", invalid="ignore"):
        return counts / repeats[:, None]


def rank_by_date(facts: Facts, scores: pd.Series[Any], excess: pd.Series[Any]) -> pd.Series[Any]:
    """Each date's rank correlation, assigned to its first case, so that there is one value per date."""
    both = pd.DataFrame({"date": facts.dates, "score": scores, "excess": excess}).dropna()
    ranks = both.groupby("date")[["score", "excess"]].rank().assign(date=both["date"])
    centred = ranks[["score", "excess"]] - ranks.groupby("date")[["score", "excess"]].transform("mean")
    products = pd.DataFrame(
        {"xy": centred["score"] * centred["excess"], "xx": centred["score"] ** 2, "yy": centred["excess"] ** 2, "n": 1.0}
    )
    sums = products.groupby(both["date"]).sum()
    is_telling = (sums["n"] >= 3) & (sums["xx"] > 0) & (sums["yy"] > 0)
    values: pd.Series[Any] = (sums["xy"] / np.sqrt(sums["xx"] * sums["yy"])).where(is_telling)
    firsts = facts.dates.drop_duplicates()
    return firsts.map(values).reindex(facts.dates.index).astype(float)


def agreements(facts: Facts, tables: dict[str, Any]) -> pd.DataFrame:
    """Cases x arms: the share of rating pairs that agree, from tables of pairs."""
    agreed = {arm: np.trace(table, axis1=1, axis2=2) for arm, table in tables.items()}
    frame: pd.DataFrame = pd.DataFrame(agreed, index=facts.dates.index).reindex(columns=list(facts.arms)).astype(float)
    return frame


def opposites(facts: Facts, tables: dict[str, Any]) -> pd.DataFrame:
    """Cases x arms: the share of rating pairs of which one buys and the other sells, from tables of pairs."""
    sides = np.sign([SCORES[rating] for rating in RATINGS])
    is_opposite = np.multiply.outer(sides, sides) < 0
    opposed = {arm: (table * is_opposite).sum(axis=(1, 2)) for arm, table in tables.items()}
    frame: pd.DataFrame = pd.DataFrame(opposed, index=facts.dates.index).reindex(columns=list(facts.arms)).astype(float)
    return frame


def stage_score(facts: Facts, stage: str) -> pd.Series[Any]:
    """The score that the role of a stage gave before the final decision, per cell; unknown without such a stage."""
    role = facts.run.roles.of_stage(stage)
    stages = [dict(stage).get(role) if stage is not None else None for stage in facts.cells["stage_ratings"]]
    return pd.Series(stages, index=facts.cells.index, dtype=object).map(SCORES).astype(float)


def _lanes_of_cells(calls: pd.DataFrame) -> pd.Series[Any]:
    """cell_id -> lanes of its calls, joined."""
    lanes = breakdown.lanes_of(calls).dropna()
    joined: pd.Series[Any] = lanes.groupby(calls["cell_id"]).agg(lambda seen: "+".join(sorted(set(seen))))
    return joined


def of_calls(facts: Facts, by_cell: pd.Series[Any]) -> pd.Series[Any]:
    """Values by cell_id, aligned with facts.cells."""
    return facts.cells["cell_id"].map(by_cell).astype(float)
