"""How often a cascade asks its second model: as earlier runs measured it, else anything from no case to every case."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import yaml

from harness.cells import THEN_INDEX, digest_of

if TYPE_CHECKING:
    import pandas as pd

PRIOR = 0.5
"""Both parameters of the beta distribution of the share before the first case (Jeffreys): 80 % between 2 and 98 % of cases."""


@dataclass(frozen=True)
class Escalation:
    """What is known of one cascade's share of cases in which the second model is asked."""

    key: str
    asked: float = 0.0
    """Cases in which it was; repeats are averaged inside their case."""
    cases: int = 0
    """Recorded cases."""

    @property
    def beta(self) -> tuple[float, float]:
        """Parameters of the beta distribution of the share."""
        return self.asked + PRIOR, self.cases - self.asked + PRIOR

    @property
    def share(self) -> float:
        """Mean of that distribution."""
        asked, kept = self.beta
        return asked / (asked + kept)

    @property
    def sentence(self) -> str:
        if not self.cases:
            return (
                "no earlier run shows how often the second model is asked: half of the cases are assumed, and the intervals "
                "reach from no case to every case"
            )
        recorded = "case" if self.cases == 1 else "cases"
        return f"the second model was asked in {self.asked / self.cases:.0%} of {self.cases:,} {recorded} of earlier runs"

    def to_plain(self) -> dict[str, Any]:
        return {"share": round(self.share, 4), "recorded_cases": self.cases}


def key_of_rule(fingerprint: str, first: Collection[str], rule: Any) -> str:
    """Key of all that decides when the second model is asked; `first`: keys of the models that decide first."""
    terms = {"unusable": True} if rule == "unusable" else {name: term for name, term in rule.items() if term is not None}
    return digest_of([fingerprint, sorted(set(first)), json.dumps(terms, sort_keys=True)])


def recorded(experiment: bytes | None, cells: pd.DataFrame, calls: pd.DataFrame) -> pd.DataFrame:
    """The decided cells of a run's cascades: `cell_id`, `case_id`, `escalated` and the `key` of their cascade.

    `experiment`: the resolved file of the run; `calls`: with the key of each call's `model`."""
    rules = _rules(experiment)
    decided = cells[cells["escalated"].notna() & cells["status"].eq("ok") & cells["arm"].isin(rules)]
    of_first = calls[calls["index"] < THEN_INDEX].groupby("cell_id")["model"].agg(list)
    decided = decided[decided["cell_id"].isin(of_first.index)]
    named = zip(decided["pipeline_fingerprint"], decided["cell_id"], decided["arm"], strict=True)
    keys = [key_of_rule(str(prompts), of_first[cell_id], rules[arm]) for prompts, cell_id, arm in named]
    return decided.assign(key=keys)[["cell_id", "case_id", "escalated", "key"]]


def measured(cells: pd.DataFrame) -> dict[str, Escalation]:
    """Key of a cascade -> its share, over the recorded cells of all runs; a cell that several runs hold counts once."""
    once = cells.drop_duplicates("cell_id").assign(escalated=lambda rows: rows["escalated"].astype(float))
    by_case = once.groupby(["key", "case_id"])["escalated"].mean()
    shares = by_case.groupby(level="key").agg(["sum", "size"])
    return {str(key): Escalation(str(key), float(row["sum"]), int(row["size"])) for key, row in shares.iterrows()}


def _rules(experiment: bytes | None) -> Mapping[str, Any]:
    """arm -> rule of a cascade, as a run's resolved file declares it."""
    arms = (yaml.safe_load(experiment or b"") or {}).get("arms") or {}
    return {name: arm["cascade"]["when"] for name, arm in arms.items() if isinstance(arm, dict) and arm.get("cascade")}
