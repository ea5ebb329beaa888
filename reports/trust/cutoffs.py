"""What models may remember: knowledge cutoffs from cutoffs.yaml, and the stratum of each case and arm."""

from __future__ import annotations

import datetime as dt
import re
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from reports import lineups

if TYPE_CHECKING:
    import pandas as pd

GREY = dt.timedelta(days=90)
CERTAINTY = {
    "stated": "as its maker says",
    "reported": "as others report, not its maker",
    "bound": "day of its release, since no cutoff was found",
}
"""How sure an entry of cutoffs.yaml is, in words."""
STRATA = ("before", "grey", "after", "unknown")


@dataclass(frozen=True)
class Cutoff:
    """Until when a model may know what happened."""

    model: str
    cutoff: dt.date
    certainty: str
    """A key of CERTAINTY."""
    source: str

    @property
    def certainty_words(self) -> str:
        return CERTAINTY[self.certainty]


@dataclass(frozen=True)
class ArmCutoff:
    """The latest cutoff among an arm's models."""

    arm: str
    cutoff: Cutoff | None
    """None for a rule, which remembers nothing, and where a model is not in the data."""
    unknown: tuple[str, ...] = ()
    """Models without a known cutoff; one is enough to leave the arm's outcomes unclaimed."""

    def stratum(self, date: dt.date) -> str:
        """One of STRATA for a case of this date."""
        if self.unknown:
            return "unknown"
        if self.cutoff is None or date > self.cutoff.cutoff + GREY:
            return "after"
        return "grey" if date >= self.cutoff.cutoff - GREY else "before"


def of_model(name: str) -> Cutoff | None:
    """The entry with the longest name that this model's name starts with."""
    plain = name.lower().rpartition("/")[2]
    fitting = [known for known in _entries() if _pattern(known).match(plain)]
    return _entries()[max(fitting, key=len)] if fitting else None


def of_arm(experiment: Mapping[str, Any], arm: str) -> ArmCutoff:
    """An arm knows what its best-informed model knows."""
    found = {name: of_model(name) for name in lineups.models_of(experiment, arm)}
    unknown = tuple(name for name, cutoff in found.items() if cutoff is None)
    if not found and arm not in lineups.rule_arms(experiment):
        unknown = (arm,)
    known = [cutoff for cutoff in found.values() if cutoff]
    return ArmCutoff(arm, max(known, key=lambda cutoff: cutoff.cutoff, default=None), unknown)


def strata(cutoff: ArmCutoff, dates: pd.Series[Any]) -> pd.Series[Any]:
    """case_id -> stratum, from case_id -> date."""
    by_date = {date: cutoff.stratum(date.date()) for date in dates.unique()}
    return dates.map(by_date)


@cache
def _entries() -> dict[str, Cutoff]:
    import yaml

    text = Path(__file__).with_name("cutoffs.yaml").read_text(encoding="utf-8")
    rows = yaml.safe_load(text).items()
    return {name: Cutoff(name, row["cutoff"], row["certainty"], row["source"]) for name, row in rows}


@cache
def _pattern(known: str) -> re.Pattern[str]:
    """The known name, however its words and its version are joined, and not as the head of another version."""
    words = re.findall(r"[a-z]+|[\d.]+", known)
    return re.compile(r"(?:meta-)?" + r"[-_: ]?".join(map(re.escape, words)) + r"(?=$|[-_:@ ])")
