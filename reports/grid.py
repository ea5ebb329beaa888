"""The grid of decisions: one row per case, one column per arm, one mark per distinct answer among its repeats."""

from __future__ import annotations

import datetime as dt
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from domain.ratings import SCORES
from reports.format import known

if TYPE_CHECKING:
    import pandas as pd

    from reports.load import Run


@dataclass(frozen=True)
class Mark:
    """One distinct answer of an arm to a case."""

    word: str
    """The rating, or the reason why there is none."""
    times: int

    @property
    def code(self) -> str:
        """CSS class of its shape and colour: r2 .. r-2, rx without a usable decision."""
        return f"r{SCORES[self.word]}" if self.word in SCORES else "rx"


@dataclass(frozen=True)
class CaseRow:
    """One case."""

    case_id: str
    ticker: str
    date: dt.date
    marks: Mapping[str, tuple[Mark, ...]]
    """arm -> its answers, most frequent first; without arms that did not run."""
    differs: bool
    """Whether the majority answers of the arms differ."""
    outcome: float | None
    """Excess return over the shown horizon; None when pending or missing."""

    @property
    def flips(self) -> bool:
        """Whether the repeats of some arm differ."""
        return any(len(marks) > 1 for marks in self.marks.values())


def rows(run: Run) -> list[CaseRow]:
    """All cases by date and ticker; of an unfinished run, the complete ones."""
    outcomes = _outcomes(run)
    cells = run.measured_cells.sort_values(["date", "ticker", "repeat"], kind="stable")
    answers: dict[str, dict[str, list[str]]] = {}
    facts: dict[str, tuple[str, dt.date]] = {}
    columns = (cells[name] for name in ("case_id", "ticker", "date", "arm", "rating", "status", "decision_status"))
    for case_id, ticker, date, arm, rating, status, decision in zip(*columns, strict=True):
        facts.setdefault(str(case_id), (str(ticker), _day(date)))
        answers.setdefault(str(case_id), {}).setdefault(str(arm), []).append(word(rating, status, decision))
    return [_row(case, *facts[case], answers[case], outcomes.get(case)) for case in facts]


def word(rating: Any, status: Any, decision: Any) -> str:
    """The rating, else the cell's status, else the decision's status."""
    if isinstance(rating, str) and rating in SCORES:
        return rating
    if status != "ok":
        return str(status).replace("_", " ")
    return str(decision) if isinstance(decision, str) else "missing"


def horizon(run: Run) -> int | None:
    """The horizon whose outcome the grid shows: 5 sessions if declared, else the middle one."""
    there = sorted(run.settings.horizons)
    return 5 if 5 in there else there[len(there) // 2] if there else None


def distribution(case_rows: Sequence[CaseRow], arm: str) -> Counter[str]:
    """Return answer -> how often the arm gave it."""
    counts: Counter[str] = Counter()
    for row in case_rows:
        for mark in row.marks.get(arm, ()):
            counts[mark.word] += mark.times
    return counts


def flips(case_rows: Sequence[CaseRow], arm: str) -> tuple[int, int]:
    """(cases in which the arm's repeats disagree, cases with more than one repeat)."""
    repeated = [row.marks[arm] for row in case_rows if sum(m.times for m in row.marks.get(arm, ())) > 1]
    return sum(len(marks) > 1 for marks in repeated), len(repeated)


def _row(case: str, ticker: str, date: dt.date, answers: Mapping[str, list[str]], outcome: float | None) -> CaseRow:
    marks = {arm: tuple(Mark(w, n) for w, n in Counter(words).most_common()) for arm, words in answers.items()}
    return CaseRow(case, ticker, date, marks, len({m[0].word for m in marks.values()}) > 1, outcome)


def _outcomes(run: Run) -> dict[str, float]:
    chosen: pd.DataFrame = run.outcomes[(run.outcomes["horizon"] == horizon(run)) & (run.outcomes["status"] == "known")]
    pairs = zip(chosen["case_id"], chosen["excess"], strict=True)
    return {str(case): float(excess) for case, excess in pairs if known(excess)}


def _day(value: Any) -> dt.date:
    return value.date() if isinstance(value, dt.datetime) else value
