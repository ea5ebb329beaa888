"""The grid of decisions: one row per case, one cell per arm, a mark for each distinct answer among its repeats."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from reports.figures import known

if TYPE_CHECKING:
    import pandas as pd

    from reports.load import Run

RATINGS = {"Buy": 2, "Overweight": 1, "Hold": 0, "Underweight": -1, "Sell": -2}


@dataclass(frozen=True)
class Mark:
    """One distinct answer of an arm to a case."""

    word: str
    """The rating, or why there is none."""
    times: int

    @property
    def code(self) -> str:
        """CSS class of its shape and colour: r2 .. r-2, rx without a usable decision."""
        return f"r{RATINGS[self.word]}" if self.word in RATINGS else "rx"


@dataclass(frozen=True)
class Row:
    """One case."""

    case_id: str
    ticker: str
    date: dt.date
    marks: Mapping[str, tuple[Mark, ...]]
    """arm -> its answers, the most frequent first; an arm that did not run is missing."""
    differs: bool
    """Whether the arms do not all give the same majority answer."""
    outcome: float | None
    """Excess return over the shown horizon; None when pending or missing."""

    @property
    def flips(self) -> bool:
        """Whether some arm answered its repeats differently."""
        return any(len(marks) > 1 for marks in self.marks.values())


@dataclass(frozen=True)
class Agreement:
    """How often two arms gave the same rating, or an arm the same rating twice."""

    one: str
    other: str
    share: float | None
    cases: int
    """Cases that could be compared."""


def rows(run: Run) -> list[Row]:
    """All cases by date and ticker; of an unfinished run the whole ones."""
    outcomes = _outcomes(run)
    cells = run.judged.sort_values(["date", "ticker", "repeat"], kind="stable")
    answers: dict[str, dict[str, list[str]]] = {}
    facts: dict[str, tuple[str, dt.date]] = {}
    columns = (cells[name] for name in ("case_id", "ticker", "date", "arm", "rating", "status", "decision_status"))
    for case_id, ticker, date, arm, rating, status, decision in zip(*columns, strict=True):
        facts.setdefault(str(case_id), (str(ticker), _day(date)))
        answers.setdefault(str(case_id), {}).setdefault(str(arm), []).append(word(rating, status, decision))
    return [_row(case, *facts[case], answers[case], outcomes.get(case)) for case in facts]


def word(rating: Any, status: Any, decision: Any) -> str:
    """The rating; without one, what went wrong: the cell's status, else the decision's."""
    if isinstance(rating, str) and rating in RATINGS:
        return rating
    if status != "ok":
        return str(status).replace("_", " ")
    return str(decision) if isinstance(decision, str) else "missing"


def horizon(run: Run) -> int | None:
    """The horizon whose outcome the grid shows: 5 sessions when declared, else the middle one."""
    there = sorted(run.horizons)
    return 5 if 5 in there else there[len(there) // 2] if there else None


def agreement(found: Sequence[Row], arms: Sequence[str]) -> list[list[Agreement]]:
    """Arms x arms: share of cases with the same rating over all pairs of repeats; the diagonal is an arm's own noise floor."""
    return [[_agreement(found, one, other) for other in arms] for one in arms]


def distribution(found: Sequence[Row], arm: str) -> Counter[str]:
    """Answer -> how often the arm gave it."""
    counts: Counter[str] = Counter()
    for row in found:
        for mark in row.marks.get(arm, ()):
            counts[mark.word] += mark.times
    return counts


def flips(found: Sequence[Row], arm: str) -> tuple[int, int]:
    """(cases in which the arm's repeats disagree, cases with more than one repeat)."""
    repeated = [row.marks[arm] for row in found if sum(m.times for m in row.marks.get(arm, ())) > 1]
    return sum(len(marks) > 1 for marks in repeated), len(repeated)


def _row(case: str, ticker: str, date: dt.date, answers: Mapping[str, list[str]], outcome: float | None) -> Row:
    marks = {arm: tuple(Mark(w, n) for w, n in Counter(words).most_common()) for arm, words in answers.items()}
    return Row(case, ticker, date, marks, len({m[0].word for m in marks.values()}) > 1, outcome)


def _agreement(found: Sequence[Row], one: str, other: str) -> Agreement:
    shares = []
    for row in found:
        a, b = ({m.word: m.times for m in row.marks.get(arm, ())} for arm in (one, other))
        share = _own(a) if one == other else _between(a, b)
        if share is not None:
            shares.append(share)
    return Agreement(one, other, sum(shares) / len(shares) if shares else None, len(shares))


def _own(counts: Mapping[str, int]) -> float | None:
    n = sum(counts.values())
    return sum(c * (c - 1) for w, c in counts.items() if w in RATINGS) / (n * (n - 1)) if n > 1 else None


def _between(a: Mapping[str, int], b: Mapping[str, int]) -> float | None:
    if not a or not b:
        return None
    return sum(a[w] * b.get(w, 0) for w in a if w in RATINGS) / (sum(a.values()) * sum(b.values()))


def _outcomes(run: Run) -> dict[str, float]:
    chosen: pd.DataFrame = run.outcomes[(run.outcomes["horizon"] == horizon(run)) & (run.outcomes["status"] == "known")]
    pairs = zip(chosen["case_id"], chosen["excess"], strict=True)
    return {str(case): float(excess) for case, excess in pairs if known(excess)}


def _day(value: Any) -> dt.date:
    return value.date() if isinstance(value, dt.datetime) else value
