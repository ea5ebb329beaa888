"""Data of the section on how decisions differ: confusion matrix, mix of ratings, lean, agreement per ticker."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from markupsafe import Markup

from domain.ratings import RATINGS, SCORES
from reports import grid
from reports.answer import wording
from reports.format import known, percent_text
from reports.metrics.rating_pairs import OPPOSITE_TRADE, SAME, RatingPairs, rating_pairs
from reports.page.svg import marker

if TYPE_CHECKING:
    from reports.grid import CaseRow
    from reports.metrics.facts import Facts
    from reports.stats.estimate import Estimate

SHADES = 9
MOST_TICKERS = 24
"""Tickers of the table by ticker: of more, those where the arms are most and least alike."""


@dataclass(frozen=True)
class MatrixCell:
    """One pair of ratings: the baseline's (row) and the arm's (column)."""

    text: str
    kind: str
    """CSS classes: same, higher or lower, opposite, and a shade."""
    tip: str


class RatingsView:
    """How the decisions of the arms differ from the baseline's."""

    def __init__(self, facts: Facts, rows: Sequence[CaseRow], slots: Mapping[str, int]) -> None:
        self._facts, self._rows, self._slots = facts, rows, slots

    @cached_property
    def pairs(self) -> dict[str, RatingPairs]:
        return rating_pairs(self._facts)

    @cached_property
    def compared(self) -> list[RatingPairs]:
        """Arms that share a decided case with the baseline, in the order of the experiment."""
        return [pairs for arm, pairs in self.pairs.items() if arm != self._facts.baseline]

    @cached_property
    def lead(self) -> str:
        """The most opposite trades of an arm with a model."""
        models = [pairs for pairs in self.compared if pairs.arm not in self._facts.rules]
        if not models:
            return "No arm shares a decided case with the baseline."
        worst = max(models, key=lambda pairs: pairs.opposite_trade.value)
        share = percent_text(worst.opposite_trade.value)
        base = self._facts.baseline
        if worst.opposite_trade.value == 0:
            cases = f"{worst.cases} case{'s' if worst.cases != 1 else ''}"
            return f"No arm with a model bought what {base} sold, or the reverse, in {cases}."
        if len(models) == 1:
            return f"{worst.arm} buys what {base} sells, or the reverse, in {share} of cases."
        return f"{worst.arm} trades against {base} most often: it buys what {base} sells, or the reverse, in {share} of cases."

    def matrix(self, pairs: RatingPairs) -> Iterator[tuple[str, list[MatrixCell]]]:
        """(baseline's rating, cells by the arm's rating), both from Buy to Sell."""
        base, table = self._facts.baseline, np.asarray(pairs.table)
        most = {True: table[SAME].max() or 1.0, False: table[~SAME].max() or 1.0}
        for i, of_base in enumerate(RATINGS):
            cells = []
            for j, of_arm in enumerate(RATINGS):
                kind = "same" if i == j else "higher" if j < i else "lower"
                shade = round(SHADES * table[i, j] / most[i == j])
                tip = f"{base} {of_base}, {pairs.arm} {of_arm}: {percent_text(table[i, j])} of {pairs.cases} cases"
                opposite = " opposite" if OPPOSITE_TRADE[i, j] else ""
                cells.append(MatrixCell(_points(table[i, j]), f"{kind}{opposite} v{shade}", tip))
            yield of_base, cells

    def sums(self, pairs: RatingPairs) -> tuple[str, str, str]:
        """Shares of the same, a higher and a lower rating."""
        lower = np.triu(np.ones_like(SAME), 1)
        return tuple(percent_text(pairs.share(mask)) for mask in (SAME, lower.T, lower))  # type: ignore[return-value]

    def mix(self, arm: str) -> Markup:
        """The ratings that an arm gave, as one bar from Buy to Sell, and the answers without one."""
        counts = grid.distribution(self._rows, arm)
        total = counts.total()
        named = [(word, SCORES[word], counts[word]) for word in RATINGS]
        parts = [(word, f"r{score}", grid.LETTERS[word], n) for word, score, n in named]
        parts.append(("no usable decision", "rx", "?", total - sum(n for _, _, n in named)))
        return Markup('<svg class="mix" width="100%" height="20" role="img" aria-label="{}">{}</svg>').format(
            f"{arm}: " + ", ".join(f"{n} {word}" for word, _, _, n in parts if n), Markup("").join(_mix(parts, total))
        )

    def lean(self, pairs: RatingPairs) -> Markup:
        """The arm's lean with its interval on an axis shared by all arms."""
        measured, reach = pairs.lean, self._reach
        parts = [Markup('<line class="zero" x1="50%" x2="50%" y2="16"/>')]
        if known(measured.low) and known(measured.high):
            ends = [50 + 48 * max(-1.0, min(1.0, end / reach)) for end in (measured.low, measured.high)]
            parts.append(Markup('<line class="whisker" x1="{:.1f}%" x2="{:.1f}%" y1="8" y2="8"/>').format(*ends))
        at = Markup('<svg x="{:.1f}%" overflow="visible">{}</svg>').format(
            50 + 48 * measured.value / reach, _dot(self, pairs.arm)
        )
        tip = f"{pairs.arm}: {self.lean_words(measured)} notches, {measured.cases} cases on {measured.dates} dates"
        chart = '<svg class="lean a{}" height="16" role="img" aria-label="{}" data-tip="{}">{}{}</svg>'
        return Markup(chart).format(self._slots[pairs.arm] % 8, tip, tip, Markup("").join(parts), at)

    @staticmethod
    def lean_words(measured: Estimate) -> str:
        value, low, high = (_notches(end) for end in (measured.value, measured.low, measured.high))
        return f"{value} [{low} to {high}]" if known(measured.low) else f"{value} (no interval)"

    @cached_property
    def _reach(self) -> float:
        ends = [abs(end) for p in self.compared for end in (p.lean.value, p.lean.low, p.lean.high) if known(end)]
        return max(ends, default=0.0) or 1.0

    @cached_property
    def tickers(self) -> tuple[list[str], int]:
        """(tickers from the most to the least alike, how many are left out)."""
        alike: dict[str, list[float]] = {}
        for pairs in self.compared:
            for ticker, (share, _) in pairs.by_ticker.items():
                alike.setdefault(ticker, []).append(share)
        ranked = sorted(alike, key=lambda ticker: (-sum(alike[ticker]) / len(alike[ticker]), ticker))
        if len(ranked) <= MOST_TICKERS:
            return ranked, 0
        half = MOST_TICKERS // 2
        return [*ranked[:half], *ranked[-half:]], len(ranked) - MOST_TICKERS

    def of_ticker(self, pairs: RatingPairs, ticker: str) -> MatrixCell | None:
        """How often the arm gave the baseline's rating to one ticker; None if they share no case of it."""
        if ticker not in pairs.by_ticker:
            return None
        share, cases = pairs.by_ticker[ticker]
        tip = f"{ticker}, {pairs.arm}: same rating in {percent_text(share)} of {cases} case{'s' if cases != 1 else ''}"
        return MatrixCell(f"{share * 100:.0f}", f"same v{round(SHADES * share)}", tip)

    @cached_property
    def repeated_arms(self) -> list[tuple[str, tuple[int, int]]]:
        """(arm, (cases in which its repeats disagree, cases with more than one repeat)) of arms with repeats."""
        flips_by_arm = [(arm, grid.flips(self._rows, arm)) for arm in self._slots]
        return [(arm, flips) for arm, flips in flips_by_arm if flips[1]]

    def slot(self, arm: str) -> int:
        return self._slots[arm]


def _notches(value: float) -> str:
    words = wording.figure("", value)
    return "0.00" if words[1:] == "0.00" else words


def _points(share: float) -> str:
    return "0" if share == 0 else f"{share * 100:.1f}"


def _mix(parts: Sequence[tuple[str, str, str, int]], total: int) -> Iterator[Markup]:
    at = 0.0
    for word, code, letter, count in parts:
        width = 100 * count / total if total else 0.0
        if count:
            tip = f"{word}: {percent_text(count / total)} ({count} of {total} answers)"
            box = '<g data-tip="{}"><rect class="k-{}" x="{:.2f}%" width="{:.2f}%" height="20"/>'
            yield Markup(box).format(tip, code, at, max(width - 0.3, 0.3))
            if width >= 9:
                yield Markup('<text class="t-{}" x="{:.2f}%" y="14" text-anchor="middle">{}</text>').format(
                    code, at + width / 2, f"{letter} {width:.0f}" if width >= 16 else f"{width:.0f}"
                )
            yield Markup("</g>")
        at += width


def _dot(view: RatingsView, arm: str) -> Markup:
    return Markup('<g class="a{}">{}</g>').format(view.slot(arm) % 8, marker(view.slot(arm), 0, 8, 4.5))
