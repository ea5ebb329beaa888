"""Cascades from recorded answers: a cheap arm first, the baseline where a signal is low, at every threshold without a call.

An escalated case is as good as the baseline by construction, so only kept cases lose. The threshold is chosen by learning and
then testing (Angelopoulos et al. 2021): from safe to bold, the last one before a bound of the loss exceeds the promise. With
probability CONFIDENCE over the recorded cases, the loss on new cases of the same kind keeps the promise.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from domain.ratings import RATINGS, SCORES
from reports.format import percent_text
from reports.metrics.facts import Facts
from reports.stats import exact, means

CONFIDENCE = 0.9
MOST_EXCESS = 0.05
"""The promise: at most so much less often the baseline's rating than the baseline itself."""
T_SHARE = 0.6
"""Share of the error rate at which the t bound is tested: it is asymptotic, and kept its promise so in simulations."""
FEWEST_DATES = 20
THRESHOLDS = 20
FIRST_KEPT = 0.2
"""Share of cases that the safest threshold keeps."""
MOST_REPEATS = 5
"""That a cascade's rule may ask for."""
DIGITS = 2
"""Of a threshold."""
SIGNALS = {"stated confidence": "confidence", "probability of the rating": "rating_probability"}
AGREEMENT = "agreement of repeats"
"""Signals by name: columns of cells, and how many repeats of the cheap arm agree."""


@dataclass(frozen=True)
class Point:
    """One threshold."""

    threshold: float
    kept: float
    """Share of cases that stay with the cheap arm."""
    usd_per_1000: float | None
    share_of_cost: float | None
    """Cost against the baseline alone."""
    excess: float
    """How much less often than the baseline's own repeats the cascade gives the baseline's rating."""
    excess_bound: float
    opposite: float
    """Share of cases kept with a trade opposite to the baseline's."""
    opposite_bound: float
    passes: bool
    """Whether this threshold and every safer one keep the promise."""


@dataclass(frozen=True)
class Frontier:
    """Every threshold of one signal, from safe to bold."""

    first: str
    then: str
    signal: str
    points: tuple[Point, ...]
    sorts: float
    """Chance that a right answer of the cheap arm has a higher signal than a wrong one; 0.5 is no information."""
    cases: int
    dates: int
    models: tuple[str, str] = ("", "")
    """The only model of each arm, by its name in the experiment; empty for an arm with several."""
    repeats: int = 0
    """Of the cheap arm in each case."""

    @property
    def chosen(self) -> Point | None:
        """The boldest threshold that keeps the promise; None if none does, or if there are too few dates.

        Of agreement only that of all repeats: an arm of the experiment has no rule for less."""
        passing = [point for point in self.points if point.passes and (self.signal != AGREEMENT or point.threshold >= 1)]
        return passing[-1] if passing and not self.has_few_dates else None

    @property
    def has_few_dates(self) -> bool:
        """Whether nothing can be promised, whatever the answers are."""
        return self.dates < FEWEST_DATES

    @property
    def sentence(self) -> str:
        """What is promised, with which probability."""
        if self.chosen is None:
            few = f"{self.dates} dates are fewer than the {FEWEST_DATES} that a promise needs"
            return few if self.has_few_dates else f"no threshold keeps a loss of at most {MOST_EXCESS * 100:g} points"
        cost = self.chosen.share_of_cost
        price = "" if cost is None else f", at {percent_text(cost)} of the cost of {self.then} alone"
        promise = f"at most {MOST_EXCESS * 100:g} points less alike (with {percent_text(CONFIDENCE)} confidence)"
        return f"keep {percent_text(self.chosen.kept)} of cases with {self.first}: {promise}{price}"

    @property
    def yaml(self) -> str:
        """The arm to paste for the chosen threshold."""
        if self.chosen is None or not all(self.models) or (self.signal == AGREEMENT and self.repeats > MOST_REPEATS):
            return ""
        rule = {
            AGREEMENT: f"repeats_disagree: {self.repeats}",
            "stated confidence": f"confidence_below: {self.chosen.threshold:.{DIGITS}f}",
        }
        when = rule.get(self.signal, f"rating_probability_below: {self.chosen.threshold:.{DIGITS}f}")
        first, then = self.models
        return f"arms:\n  cascade:\n    cascade:\n      first: {first}\n      then: {then}\n      when: {{{when}}}\n"


def frontiers(facts: Facts) -> list[Frontier]:
    """One per cheaper arm with models and signal, the signal that sorts errors best first; empty without a floor."""
    baseline = facts.baseline
    if baseline is None:
        return []
    arms = [arm for arm in facts.arms if arm != baseline and arm not in facts.rules]
    found = [frontier for arm in arms for frontier in _of_arm(facts, arm, baseline)]
    return sorted(found, key=lambda frontier: (arms.index(frontier.first), -frontier.sorts))


def _of_arm(facts: Facts, first: str, then: str) -> Iterator[Frontier]:
    cases = _Cases(facts, first, then)
    if not len(cases.index) or cases.is_dearer:
        return
    for name, column in SIGNALS.items():
        if column in facts.cells and cases.first[column].notna().any():
            yield cases.frontier(name, cases.first[column].astype(float), cases.first["cost_usd"])
    if cases.repeats > 1:
        yield cases.of_agreement()


class _Cases:
    """Cases that both arms decided and the baseline repeated, with the answers of the cheap arm."""

    def __init__(self, facts: Facts, first: str, then: str) -> None:
        self.names = first, then
        self.models = _only_model(facts, first), _only_model(facts, then)
        counts = facts.counts(then)
        repeats = counts.sum(axis=1)
        floor = (counts * (counts - 1)).sum(axis=1) / (repeats * (repeats - 1)).where(repeats > 1)
        cells = facts.cells.assign(is_usable=facts.usable)
        first_cells = cells[cells["arm"] == first]
        self.index = floor.index[floor.notna() & floor.index.isin(first_cells["case_id"])]
        self.first = first_cells[first_cells["case_id"].isin(self.index)]
        self.floor = floor.loc[self.index]
        self.first_counts = facts.counts(first).loc[self.index]
        self.shares = counts.loc[self.index].div(repeats.loc[self.index], axis=0)
        self.dates = facts.dates.loc[self.index]
        self.codes = np.unique(self.dates.to_numpy(), return_inverse=True)[1]
        self.repeats = int(self.first.groupby("case_id").size().min()) if len(self.first) else 0
        then_cells = cells[(cells["arm"] == then) & cells["case_id"].isin(self.index)]
        known = not (then_cells["cost_usd"].isna().any() or self.first["cost_usd"].isna().any())
        self.then_usd = then_cells.groupby("case_id")["cost_usd"].mean().reindex(self.index) if known else None

    @property
    def is_dearer(self) -> bool:
        """Whether the first arm costs as much as the second, so that asking it first saves nothing."""
        return self.then_usd is not None and float(self.first["cost_usd"].mean()) >= float(self.then_usd.mean())

    def frontier(self, signal: str, values: pd.Series[Any], usd: pd.Series[Any]) -> Frontier:
        """Over every answer of the cheap arm; repeats are averaged inside their case."""
        return self._frontier(signal, self.first.assign(signal=values.fillna(-math.inf), usd=usd))

    def of_agreement(self) -> Frontier:
        """The most frequent rating of the repeats, kept where enough of them agree; all repeats are paid."""
        answers = self.first.groupby("case_id")["cost_usd"]
        most = self.first_counts.max(axis=1)
        by_case = pd.DataFrame(
            {
                "case_id": self.index,
                "rating": self.first_counts.idxmax(axis=1).where(most > 0),
                "is_usable": most > 0,
                "signal": most / answers.size(),
                "usd": answers.sum().where(answers.count() == answers.size()),
            }
        )
        return self._frontier(AGREEMENT, by_case)

    def _frontier(self, signal: str, answers: pd.DataFrame) -> Frontier:
        agreement, opposite = self._against_baseline(answers)
        answers = answers.assign(lost=self.floor.reindex(answers["case_id"]).to_numpy() - agreement, opposite=opposite)
        usable = answers[answers["is_usable"]]
        points = self._points(answers, _thresholds(usable["signal"], None if signal == AGREEMENT else DIGITS))
        is_right = agreement[answers["is_usable"].to_numpy()] >= 0.5
        sorts = _auc(usable["signal"].to_numpy(), is_right)
        return Frontier(
            *self.names, signal, points, sorts, len(self.index), self._count, models=self.models, repeats=self.repeats
        )

    @property
    def _count(self) -> int:
        return int(self.codes.max()) + 1 if len(self.codes) else 0

    def _against_baseline(self, answers: pd.DataFrame) -> tuple[Any, Any]:
        """For each answer: share of the baseline's repeats with its rating, and with the opposite trade."""
        shares = self.shares.reindex(answers["case_id"]).to_numpy()
        scores = np.sign([SCORES[rating] for rating in RATINGS])
        own = answers["rating"].map({rating: place for place, rating in enumerate(RATINGS)}).to_numpy(dtype=float)
        places = np.nan_to_num(own).astype(int)
        agreement = np.where(np.isnan(own), 0.0, shares[np.arange(len(shares)), places])
        is_opposite = scores[places][:, None] * scores[None, :] < 0
        return agreement, np.where(np.isnan(own), 0.0, (shares * is_opposite).sum(axis=1))

    def _points(self, answers: pd.DataFrame, thresholds: list[float]) -> tuple[Point, ...]:
        points: list[Point] = []
        still_passes = True
        for threshold in thresholds:
            is_kept = (answers["is_usable"] & (answers["signal"] >= threshold)).to_numpy(dtype=float)
            kept = self._by_case(answers, is_kept)
            if kept.mean() < FIRST_KEPT:
                continue
            lost = self._by_case(answers, is_kept * answers["lost"].to_numpy())
            opposite = self._by_case(answers, is_kept * answers["opposite"].to_numpy())
            usd = (
                None
                if self.then_usd is None
                else self._by_case(answers, answers["usd"].to_numpy()) + (1 - kept) * self.then_usd
            )
            bound = float(means.of_dates(self._date_means(lost)).bounds(2 * T_SHARE * (1 - CONFIDENCE))[1])
            still_passes = still_passes and bound <= MOST_EXCESS
            points.append(self._point(threshold, kept, usd, (lost, bound), opposite, still_passes))
        return tuple(points)

    def _point(self, threshold: float, kept: Any, usd: Any, lost: tuple[Any, float], opposite: Any, passes: bool) -> Point:
        counts = np.bincount(self.codes)
        sums = np.bincount(self.codes, opposite)
        alone = None if self.then_usd is None else float(self.then_usd.mean())
        return Point(
            threshold=threshold,
            kept=float(kept.mean()),
            usd_per_1000=None if usd is None else float(usd.mean()) * 1000,
            share_of_cost=None if usd is None or not alone else float(usd.mean()) / alone,
            excess=float(lost[0].mean()),
            excess_bound=lost[1],
            opposite=float(opposite.mean()),
            opposite_bound=float(exact.share(sums, counts).bounds(2 * (1 - CONFIDENCE))[1]),
            passes=passes,
        )

    def _by_case(self, answers: pd.DataFrame, values: Any) -> Any:
        codes = self.index.get_indexer(pd.Index(answers["case_id"]))
        return np.bincount(codes, values, len(self.index)) / np.bincount(codes, minlength=len(self.index))

    def _date_means(self, values: Any) -> Any:
        return np.bincount(self.codes, values) / np.bincount(self.codes)


def _only_model(facts: Facts, arm: str) -> str:
    aliases = facts.run.settings.arm(arm).aliases
    return aliases[0] if len(aliases) == 1 else ""


def _thresholds(signal: pd.Series[Any], digits: int | None) -> list[float]:
    """Quantiles of the signal, from safe to bold; rounded as the arm to paste names them, so that they are what is tested."""
    known = signal[np.isfinite(signal)]
    if known.empty:
        return []
    quantiles = (float(value) for value in np.quantile(known, np.linspace(0, 1, THRESHOLDS)))
    return sorted({value if digits is None else round(value, digits) for value in quantiles}, reverse=True)


def _auc(signal: Any, is_right: Any) -> float:
    """Chance that a right answer has a higher signal than a wrong one, ties counted half; NaN without both."""
    known = np.isfinite(signal)
    signal, is_right = signal[known], is_right[known]
    right, wrong = signal[is_right], signal[~is_right]
    if not len(right) or not len(wrong):
        return math.nan
    ranks = pd.Series(np.concatenate([right, wrong])).rank().to_numpy()
    return float((ranks[: len(right)].sum() - len(right) * (len(right) + 1) / 2) / (len(right) * len(wrong)))
