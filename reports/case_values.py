"""Values per cell and case that several endpoints are made of."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd

from domain.ratings import SCORES
from reports.facts import Facts


def rank_by_date(facts: Facts, scores: pd.Series[Any], excess: pd.Series[Any]) -> pd.Series[Any]:
    """Each date's correlation, written to its first case: one value per date, as a date mean must be."""
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


def stage_score(facts: Facts, role: str) -> pd.Series[Any]:
    """The score that a role gave on the way, per cell."""
    stages = [dict(stage).get(role) if stage is not None else None for stage in facts.cells["stage_ratings"]]
    return pd.Series(stages, index=facts.cells.index, dtype=object).map(SCORES).astype(float)


def of_calls(facts: Facts, by_cell: pd.Series[Any]) -> pd.Series[Any]:
    """What was summed over calls by cell_id, aligned with facts.cells."""
    return facts.cells["cell_id"].map(by_cell).astype(float)
